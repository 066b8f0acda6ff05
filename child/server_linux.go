package child

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/gonso/gonso/reexec/wire"
)

// server runs the calls of one parent. One goroutine reads frames. Each call has
// a goroutine and a thread of its own, which ends with it, as on the thread
// backend; functions that leave their thread clean have just a goroutine, or
// not even that: see inline.
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
		req, err := wire.ParseRequest(f.Payload)
		if err != nil {
			wire.CloseFiles(f.Files)
			return true, err
		}
		req.Files = f.Files
		return s.start(f.ID, req), nil
	}
	wire.CloseFiles(f.Files)
	switch f.Type {
	case wire.Cancel:
		s.mu.Lock()
		cancel := s.calls[f.ID]
		s.mu.Unlock()
		if cancel != nil { // else it ended meanwhile
			cancel()
		}
		return true, nil
	}
	return true, fmt.Errorf("%w: a %v frame from the parent", wire.ErrProtocol, f.Type)
}

func (s *server) start(id uint64, req wire.Request) (reads bool) {
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
	fn := lookup(req.Name)
	switch {
	case fn == nil:
		wire.CloseFiles(req.Files)
		done(&wire.Outcome{Kind: wire.NotRegistered})
	case perCall.on && fn.goroutines:
		wire.CloseFiles(req.Files)
		done(&wire.Outcome{Kind: wire.Unserved, Err: errGoroutines})
	case !fn.clean || perCall.on || req.Place != (wire.Place{}):
		go func() {
			runtime.LockOSThread()
			err := enterMount()
			if err == nil {
				err = takePlace(&req)
			}
			if err != nil {
				wire.CloseFiles(req.Files)
				done(&wire.Outcome{Kind: wire.Unserved, Err: err})
				return
			}
			Invoke(ctx, fn.handler, req.Value, req.Files, done)
		}()
	case s.stay(id, fn):
		return s.invokeInline(ctx, id, fn, req, done)
	default:
		go Invoke(ctx, fn.handler, req.Value, req.Files, done)
	}
	return true
}

// takePlace takes the root directory, if there is one, from the files of the value.
func takePlace(req *wire.Request) error {
	if !req.Place.Root {
		return TakePlace(req.Place, nil)
	}
	last := len(req.Files) - 1
	if last < 0 {
		return fmt.Errorf("%w: a root without its descriptor", wire.ErrProtocol)
	}
	root := req.Files[last]
	req.Files = req.Files[:last]
	defer root.Close()
	return TakePlace(req.Place, root)
}

// newContext has a deadline, in nanoseconds since the Unix epoch, or 0.
func newContext(deadline int64) (context.Context, context.CancelFunc) {
	if deadline == 0 {
		return context.WithCancel(context.Background())
	}
	return context.WithDeadline(context.Background(), time.Unix(0, deadline))
}

// answer sends an outcome. If that fails the parent is gone, and serve sees it.
func (s *server) answer(id uint64, out *wire.Outcome) {
	defer wire.CloseFiles(out.Files)
	f, err := out.Frame(id)
	if err != nil {
		f, err = (&wire.Outcome{Kind: wire.Unserved, Err: err}).Frame(id)
	}
	if err == nil {
		err = s.conn.Write(&f)
	}
	if err != nil {
		s.conn.Close()
	}
}
