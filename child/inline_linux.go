package child

import (
	"context"
	"time"

	"github.com/gonso/gonso/reexec/wire"
)

// inline is the state of running functions on the goroutine that reads. Starting
// a goroutine wakes a thread, which costs as much as the rest of a short call,
// so a function that leaves its thread clean is run by the reader itself if
// nothing else is going on. A timer sees to it that, if the function takes
// longer, another goroutine goes on reading. The timer is not set for each call,
// which would wake a thread too: it comes again while there are new calls.
type inline struct {
	running bool   // the goroutine that reads is running a function
	latest  uint64 // the last call that it ran
	seen    uint64 // latest when the timer came by
	pending bool   // the timer will come
	timer   *time.Timer
}

const (
	// patience is for how long, or twice that, nobody reads.
	patience = 5 * time.Millisecond
	// A function that took longer than slowCall is not run by the reader for its
	// next calls: it gains nothing, and several of them can run at once.
	slowCall  = 200 * time.Microsecond
	slowCalls = 64
)

// stay reports whether the goroutine that reads may run call id itself.
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

// back reports, after call id, whether nobody else has gone on to read meanwhile.
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

// invokeInline reports whether the calling goroutine is still the one that reads.
func (s *server) invokeInline(ctx context.Context, id uint64, fn *function, req wire.Request, done func(*wire.Outcome)) (reads bool) {
	returned := false
	defer func() {
		if reads = s.back(id); reads && !returned { // the function has ended this goroutine
			go s.serve()
		}
	}()
	begin := time.Now()
	Invoke(ctx, fn.handler, req.Value, req.Files, func(out *wire.Outcome) {
		if time.Since(begin) > slowCall {
			fn.slow.Store(slowCalls)
		}
		done(out)
	})
	returned = true
	return reads
}
