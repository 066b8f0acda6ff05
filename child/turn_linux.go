package child

import (
	"sync"
	"time"
)

// turns is how goroutines read in turns from one connection on which calls come. The goroutine that
// has read a call also runs it, and reads on afterwards. The kernel wakes the thread that reads. If
// another goroutine ran the call, or read on, a second thread would have to be woken. This costs
// half of a short call: 16 µs where turns take 11, 1.5 times as long (BenchmarkTurns, the median of
// five runs on two processors). So nobody reads while a short call runs. If a call takes longer, a
// timer makes another goroutine read. The timer is not set for each call, because that would wake a
// thread, too. It fires again and again while there are new calls.
type turns struct {
	read func() // reads until run tells it to end; always in its own goroutine

	mu      sync.Mutex
	away    bool   // nobody reads: the goroutine that did runs a call
	latest  uint64 // the number of the last call for which nobody read
	seen    uint64 // latest when the timer last fired
	pending bool   // the timer will fire
	timer   *time.Timer
}

// patience: nobody reads for this long, or twice as long.
const patience = 5 * time.Millisecond

// run runs a call on the goroutine that has read it, and reports whether that goroutine is still
// the one that reads; if not, it must end. Without stay, another goroutine reads at once. A call
// that returns false, or never, ends the goroutine too.
func (t *turns) run(stay bool, call func() (same bool)) (reads bool) {
	var n uint64
	if stay {
		n = t.leave()
	} else {
		go t.read()
	}
	same := false
	defer func() {
		if reads = t.back(n); reads && !same { // or the call has ended this goroutine
			reads = false
			go t.read()
		}
	}()
	same = call()
	return false // unless it is back
}

// leave notes that nobody reads, and returns a number to come back with.
func (t *turns) leave() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.away = true
	t.latest++
	switch {
	case t.pending:
	case t.timer == nil:
		t.timer = time.AfterFunc(patience, t.relieve)
	default:
		t.timer.Reset(patience)
	}
	t.pending = true
	return t.latest
}

// relieve makes another goroutine read if the same call still runs as when the timer last fired.
func (t *turns) relieve() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen != t.latest {
		t.seen = t.latest
		t.timer.Reset(patience)
		return
	}
	t.pending = false
	if t.away {
		t.away = false
		go t.read()
	}
}

// back tells the goroutine that left as number n whether still nobody reads; 0 means that it did
// not leave.
func (t *turns) back(n uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	reads := t.away && t.latest == n
	if reads {
		t.away = false
	}
	return reads
}
