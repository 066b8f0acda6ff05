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

// server runs the calls of one parent, on goroutines that read them in turns. The thread of a call
// ends with the call, as on the thread backend. The thread of a function that leaves it clean goes
// on.
type server struct {
	conn   *wire.Conn
	failed chan error // why reading ended
	turns  turns      // in reading conn

	mu    sync.Mutex
	calls map[uint64]*callContext
}

func newServer(conn *wire.Conn) *server {
	s := &server{conn: conn, failed: make(chan error, 1), calls: make(map[uint64]*callContext)}
	s.turns.read = s.serve
	return s
}

// serve reads until reading fails, or until another goroutine reads.
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
			s.answer(f.ID, &wire.Outcome{Kind: wire.Unserved, Err: f.Lost}, false)
			return true, nil
		}
		req, err := wire.ParseRequest(f)
		if err != nil {
			return true, err
		}
		return s.begin(f.ID, &req), nil
	}
	f.Close()
	var why error
	switch f.Type {
	case wire.Cancel:
		why = context.Canceled
	case wire.Expire:
		why = context.DeadlineExceeded
	default:
		return true, fmt.Errorf("%w: a %v frame from the parent", wire.ErrProtocol, f.Type)
	}
	s.mu.Lock()
	ctx := s.calls[f.ID]
	s.mu.Unlock()
	if ctx != nil { // otherwise the call has ended meanwhile
		ctx.end(why)
	}
	return true, nil
}

// begin runs a call that has come in, or refuses it. It returns the result of run.
func (s *server) begin(id uint64, req *wire.Request) (reads bool) {
	ctx := newContext(req.Deadline)
	among := s.conn.Buffered() // the answers to calls that have come together may go together
	s.mu.Lock()
	s.calls[id] = ctx
	alone := len(s.calls) == 1
	s.mu.Unlock()
	done := func(out *wire.Outcome) {
		s.answer(id, out, among) // first: the parent waits for it
		s.mu.Lock()
		delete(s.calls, id)
		s.mu.Unlock()
		ctx.end(context.Canceled)
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
	return s.run(ctx, alone, fn, req, done)
}

// run runs a call, and reports whether the calling goroutine is still the one that reads. If it is
// not, it must end: its thread may be in any state.
func (s *server) run(ctx context.Context, alone bool, fn *function, req *wire.Request, done func(*wire.Outcome)) (reads bool) {
	clean := fn.clean && !perCall.on && !req.EndThread && req.Place == (sys.Place{})
	if !clean {
		sys.LockThread() // it ends with the call
		if sys.OnMainThread() {
			sys.GoElsewhere(func() { s.run(ctx, alone, fn, req, done) })
			return false
		}
	}
	slow := fn.pace.isSlow()
	if !clean || !fn.pace.isQuick() {
		s.flush() // no answer waits for this call
	}
	return s.turns.run(alone && !slow, func() (same bool) {
		begin := time.Now()
		timed := func(out *wire.Outcome) {
			fn.pace.took(time.Since(begin))
			done(out)
		}
		if !clean {
			if err := takePlace(req.Place); err != nil {
				req.Value.Close()
				done(&wire.Outcome{Kind: wire.Unserved, Err: err})
				return false
			}
		}
		Invoke(ctx, fn.handler, req.Value, timed)
		return clean
	})
}

// takePlace moves the calling thread to where the call runs.
func takePlace(place sys.Place) error {
	defer place.Close()
	if err := enterMount(); err != nil {
		return err
	}
	return place.Take()
}

// flush sends the answers that wait for others.
func (s *server) flush() {
	if err := s.conn.Flush(); err != nil {
		s.fail(err)
	}
}

// answer sends an outcome, or the reason why it cannot be sent.
func (s *server) answer(id uint64, out *wire.Outcome, among bool) {
	defer out.Close()
	err := s.send(id, out, among)
	if unsent := (*wire.UnsentError)(nil); errors.As(err, &unsent) {
		err = s.send(id, &wire.Outcome{Kind: wire.Unserved, Err: unsent.Err}, among)
	}
	if err != nil {
		s.fail(err)
	}
}

func (s *server) send(id uint64, out *wire.Outcome, among bool) error {
	f, err := out.Frame(id)
	switch {
	case err != nil:
		return &wire.UnsentError{Err: err}
	case among:
		return s.conn.Gather(&f)
	}
	return s.conn.Write(&f)
}

// fail ends the process, because sending failed: the parent is gone, or a function has closed a file
// that was not its own. There is nothing left to serve.
func (s *server) fail(err error) {
	select {
	case s.failed <- err:
	default: // serve has seen an error, too
	}
}
