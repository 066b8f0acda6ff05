package child

import (
	"sync"
	"time"
)

// turns is how goroutines read in turns from one connection on which calls come:
// who has read a call runs it too, and reads on afterwards. The kernel wakes the
// thread that reads. To have another goroutine run the call, or read on, wakes a
// second thread, which costs half of a short call: 16 µs where turns take 11, 1.5
// times as long (BenchmarkTurns, the median of five runs on two processors). So nobody
// reads while a call runs, if that takes no time. A timer sees to it that somebody
// does where it takes longer. The timer is not set for each call, which would wake a
// thread too: it comes again while there are new calls.
type turns struct {
	read func() // reads until run tells it to end; always in a goroutine of its own

	mu      sync.Mutex
	away    bool   // nobody reads: who did runs a call
	latest  uint64 // the number of the last call for which nobody read
	seen    uint64 // latest when the timer came by
	pending bool   // the timer will come
	timer   *time.Timer
}

// patience is for how long, or twice that, nobody reads.
const patience = 5 * time.Millisecond

// run runs a call on the goroutine that has read it, and reports whether that
// goroutine is still the one that reads; it has to end if not. Without stay somebody
// else reads at once. A call that returns false, or never, ends the goroutine too.
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

// leave notes that nobody reads, and gives a number for coming back.
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

// relieve has somebody else read if the call has not changed since it last came.
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

// back reports whether nobody reads, to the goroutine that left as number n; 0 did not.
func (t *turns) back(n uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	reads := t.away && t.latest == n
	if reads {
		t.away = false
	}
	return reads
}
