package codec

import (
	"errors"
	"runtime"
	"sync"
)

// A Budget bounds the memory that what one peer sent takes in this process, however many calls it
// answers at once. Whoever wants more than is free waits for the others, so it must be something
// that they finish without him: nobody takes from the same Budget twice. A nil Budget has no bound.
type Budget struct {
	max int64

	mu    sync.Mutex
	taken int64
	dead  int64         // given back, and maybe not collected since
	freed chan struct{} // closed, and made anew, when something is given back
}

// NewBudget makes a Budget of size bytes. A charge of more is one of all.
func NewBudget(size int64) *Budget { return &Budget{max: size, freed: make(chan struct{})} }

// A Charge is a part of a Budget that is taken. A nil Charge is one of nothing.
type Charge struct {
	of   *Budget
	size int64
	once sync.Once
}

// errStopped says that a wait for memory came to nothing.
var errStopped = errors.New("the wait for memory was ended")

// Take takes size bytes, and waits for them unless stop is closed.
func (b *Budget) Take(size int64, stop <-chan struct{}) (*Charge, error) {
	for {
		c, freed := b.try(size)
		if freed == nil {
			return c, nil
		}
		select {
		case <-freed:
		case <-stop:
			return nil, errStopped
		}
	}
}

// try gives what to wait for if there is not enough.
func (b *Budget) try(size int64) (c *Charge, freed <-chan struct{}) {
	if b == nil {
		return nil, nil
	}
	size = min(size, b.max)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.taken+size > b.max {
		return nil, b.freed
	}
	if b.taken+b.dead+size > b.max {
		b.collect()
	}
	b.taken += size
	return &Charge{of: b, size: size}, nil
}

// hugeHeap is a heap for which a budget's worth of garbage makes no difference.
const hugeHeap = 1 << 30

// collect makes room for what comes, as the runtime lets the heap double before it collects. In a
// large heap it is left to the runtime: collecting costs more there, and what it bounds is little.
func (b *Budget) collect() {
	var m runtime.MemStats // package runtime/metrics takes 80 us of every program's start
	runtime.ReadMemStats(&m)
	if m.NextGC < hugeHeap {
		runtime.GC()
	}
	b.dead = 0
}

// Release gives it back, once.
func (c *Charge) Release() {
	if c == nil {
		return
	}
	c.once.Do(func() {
		b := c.of
		b.mu.Lock()
		b.taken -= c.size
		b.dead += c.size
		close(b.freed)
		b.freed = make(chan struct{})
		b.mu.Unlock()
	})
}
