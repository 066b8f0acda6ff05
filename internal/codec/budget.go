package codec

import (
	"errors"
	"runtime"
	"sync"
)

// A Budget bounds the memory that the data of one peer takes in this process, even if the peer
// answers many calls at once. A goroutine that wants more than is free waits for the others. They
// must be able to finish without it: so nobody takes from the same Budget twice. A nil Budget has
// no bound.
type Budget struct {
	max int64

	mu    sync.Mutex
	taken int64
	dead  int64         // released, and maybe not collected since
	freed chan struct{} // closed, and made anew, when memory is released
}

// NewBudget makes a Budget of size bytes. A charge of more bytes takes all of it.
func NewBudget(size int64) *Budget { return &Budget{max: size, freed: make(chan struct{})} }

// A Charge is a part of a Budget that is taken. A nil Charge is a charge of 0 bytes.
type Charge struct {
	of   *Budget
	size int64
	once sync.Once
}

// errStopped says that a wait for memory was stopped.
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

// try returns a channel to wait for if there is not enough memory.
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

// collect makes room for the next data, because the runtime lets the heap double before it
// collects. A large heap is left to the runtime: there, collecting costs more and gains little.
func (b *Budget) collect() {
	var m runtime.MemStats // package runtime/metrics takes 80 us of every program's start
	runtime.ReadMemStats(&m)
	if m.NextGC < hugeHeap {
		runtime.GC()
	}
	b.dead = 0
}

// Release releases the charge, once.
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
