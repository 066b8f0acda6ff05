package child

import "time"

// inline is the state of running a function while nobody reads. Starting another
// goroutine that does wakes a thread, which costs as much as the rest of a short
// call, so it waits until the call is over, if nothing else is going on. A timer sees
// to it that, if the function takes longer, somebody reads on. The timer is not set for
// each call, which would wake a thread too: it comes again while there are new calls.
type inline struct {
	running bool   // nobody reads: who did is running a function
	latest  uint64 // the last call that it ran
	seen    uint64 // latest when the timer came by
	pending bool   // the timer will come
	timer   *time.Timer
}

const (
	// patience is for how long, or twice that, nobody reads.
	patience = 5 * time.Millisecond
	// While a function that took longer than slowCall runs, somebody reads, for its
	// next calls: it gains nothing otherwise, and several of them can run at once.
	slowCall  = 200 * time.Microsecond
	slowCalls = 64
)

// stay reports whether nobody need read while call id runs.
func (s *server) stay(id uint64, fn *function) bool {
	if fn.slow.Load() > 0 {
		fn.slow.Add(-1)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.calls) > 1 {
		return false
	}
	in := &s.inline
	in.running, in.latest = true, id
	if in.pending {
		return true
	}
	in.pending = true
	if in.timer == nil {
		in.timer = time.AfterFunc(patience, s.relieve)
	} else {
		in.timer.Reset(patience)
	}
	return true
}

// relieve starts another reader if the call has not changed since it last came.
func (s *server) relieve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &s.inline
	if in.seen != in.latest {
		in.seen = in.latest
		in.timer.Reset(patience)
		return
	}
	in.pending = false
	if in.running {
		in.running = false
		go s.serve()
	}
}

// back reports, after call id, whether nobody reads.
func (s *server) back(id uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	in := &s.inline
	reads := in.running && in.latest == id
	if reads {
		in.running = false
	}
	return reads
}
