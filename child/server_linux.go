package child

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/wire"
)

// server runs the calls of one parent. One goroutine reads frames, and the kernel
// wakes its thread with each. It runs the call that it has read itself, as handing
// that over would wake another thread: somebody else reads on, see inline. The thread
// of a call ends with it, as on the thread backend, but for functions that leave
// theirs clean.
type server struct {
	conn   *wire.Conn
	failed chan error // why reading ended

	mu     sync.Mutex
	calls  map[uint64]context.CancelFunc
	inline inline
}

// serve reads until that fails, or until another goroutine does.
func (s *server) serve() {
	for {
		f, err := s.conn.Read()
		reads := true
		if err == nil {
			reads, err = s.receive(f)
		}
		if err != nil {
			s.failed <- err
		}
		if err != nil || !reads {
			return
		}
	}
}

// receive reports whether the calling goroutine is still the one that reads.
func (s *server) receive(f wire.Frame) (reads bool, err error) {
	if f.Type == wire.Call {
		if f.Lost != nil { // this process may open no more
			s.answer(f.ID, &wire.Outcome{Kind: wire.Unserved, Err: f.Lost})
			return true, nil
		}
		req, err := wire.ParseRequest(f)
		if err != nil {
			return true, err
		}
		return s.start(f.ID, &req), nil
	}
	f.Close()
	if f.Type != wire.Cancel {
		return true, fmt.Errorf("%w: a %v frame from the parent", wire.ErrProtocol, f.Type)
	}
	s.mu.Lock()
	cancel := s.calls[f.ID]
	s.mu.Unlock()
	if cancel != nil { // else it ended meanwhile
		cancel()
	}
	return true, nil
}

func (s *server) start(id uint64, req *wire.Request) (reads bool) {
	ctx, cancel := newContext(req.Deadline)
	s.mu.Lock()
	s.calls[id] = cancel
	s.mu.Unlock()
	done := func(out *wire.Outcome) {
		s.answer(id, out) // first: it is waited for
		s.mu.Lock()
		delete(s.calls, id)
		s.mu.Unlock()
		cancel()
	}
	refuse := func(out *wire.Outcome) bool {
		req.Close()
		done(out)
		return true
	}
	fn := lookup(req.Name)
	switch {
	case fn == nil:
		return refuse(&wire.Outcome{Kind: wire.NotRegistered})
	case perCall.on && fn.goroutines:
		return refuse(&wire.Outcome{Kind: wire.Unserved, Err: errGoroutines})
	}
	return s.run(ctx, id, fn, req, done)
}

// run runs a call, and reports whether the calling goroutine is still the one that
// reads. Where it is not, it has to end: its thread may be anything.
func (s *server) run(ctx context.Context, id uint64, fn *function, req *wire.Request, done func(*wire.Outcome)) (reads bool) {
	clean := fn.clean && !perCall.on && !req.EndThread && req.Place == (sys.Place{})
	if !s.stay(id, fn) {
		go s.serve()
	}
	begin, returned := time.Now(), false
	defer func() {
		if reads = s.back(id); reads && !(clean && returned) { // or the function has ended this goroutine
			reads = false
			go s.serve()
		}
	}()
	timed := func(out *wire.Outcome) {
		if time.Since(begin) > slowCall {
			fn.slow.Store(slowCalls)
		}
		done(out)
	}
	if !clean {
		if err := ownThread(req.Place); err != nil {
			req.Value.Close()
			done(&wire.Outcome{Kind: wire.Unserved, Err: err})
			return false
		}
	}
	Invoke(ctx, fn.handler, req.Value, timed)
	returned = true
	return false // unless it is back
}

// ownThread makes the thread that of the call, which it ends with.
func ownThread(place sys.Place) error {
	if place.Root != nil {
		defer place.Root.Close()
	}
	sys.LockThread()
	if err := enterMount(); err != nil {
		return err
	}
	return place.Take()
}

// newContext has a deadline, in nanoseconds since the Unix epoch, or 0.
func newContext(deadline int64) (context.Context, context.CancelFunc) {
	if deadline == 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithDeadline(context.Background(), time.Unix(0, deadline))
}

// answer sends an outcome, or why that cannot be sent. If that fails the parent is gone, and serve
// sees it.
func (s *server) answer(id uint64, out *wire.Outcome) {
	defer out.Close()
	err := s.send(id, out)
	if unsent := (*wire.UnsentError)(nil); errors.As(err, &unsent) {
		err = s.send(id, &wire.Outcome{Kind: wire.Unserved, Err: unsent.Err})
	}
	if err != nil {
		s.conn.Close()
	}
}

func (s *server) send(id uint64, out *wire.Outcome) error {
	f, err := out.Frame(id)
	if err != nil {
		return &wire.UnsentError{Err: err}
	}
	return s.conn.Write(&f)
}
