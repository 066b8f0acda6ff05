package reexec

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/wire"
)

// call is one call in flight.
type call struct {
	p    *process
	id   uint64
	done chan struct{}
	out  *wire.Outcome
	err  error

	most   int           // bytes of its answer
	charge *codec.Charge // for them; belongs to who reads

	overdue atomic.Bool // its function did not return in time after it was cancelled
}

func (c *call) isDone() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *call) finish(out *wire.Outcome, err error) {
	c.out, c.err = out, err
	close(c.done)
}

// Do runs the registered function that req names in the worker; the request's deadline is that of
// ctx. It does not return while the function runs: when ctx is done, that of the function is
// cancelled, and if the function does not return within the grace period the worker is killed, at
// once if it runs nothing else, otherwise when the others have finished, for which they have the
// same time again.
//
// Files of a request stay the caller's; those of the outcome belong to it.
func (w *Worker) Do(ctx context.Context, req wire.Request) (*wire.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := w.get(ctx)
	if err != nil {
		return nil, err
	}
	defer p.leave()
	return p.call(ctx, req)
}

func (p *process) call(ctx context.Context, req wire.Request) (*wire.Outcome, error) {
	if d, ok := ctx.Deadline(); ok {
		req.Deadline = d.UnixNano()
	}
	c := &call{p: p, done: make(chan struct{}), most: wire.MaxOutcome(req.MaxResult)}
	p.mu.Lock()
	if p.calls == nil { // it ended since enter
		p.mu.Unlock()
		<-p.ended
		return nil, &DiedError{Cause: errors.New("before the call was sent")}
	}
	p.lastID++
	c.id = p.lastID
	p.calls[c.id] = c
	p.mu.Unlock()

	f, err := req.Frame(c.id)
	if err != nil {
		p.drop(c.id)
		return nil, err
	}
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { c.cancelled(ctx) })
		defer stop()
	}
	err = p.conn.Write(&f)
	if unsent := (*wire.UnsentError)(nil); errors.As(err, &unsent) {
		if p.drop(c.id) == nil { // answered without having been asked
			<-c.done
			if c.out != nil {
				c.out.Close()
			}
		}
		return nil, unsent.Err
	}
	if err != nil {
		// Nothing more can be said to it; read finds the same and finishes the call.
		p.hangUp()
	}
	p.await(c)
	if c.err != nil && ctx.Err() != nil {
		return nil, errors.Join(ctx.Err(), c.err)
	}
	return c.out, c.err
}

// drop takes a call off the books, if it is still there.
func (p *process) drop(id uint64) *call {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.calls[id]
	delete(p.calls, id)
	return c
}

// receive handles a frame of the worker, which is not trusted.
func (p *process) receive(f wire.Frame) error {
	var c *call
	if f.Type == wire.Result {
		c = p.drop(f.ID)
	}
	if c == nil {
		f.Close()
		return unexpected(f.Type, f.ID)
	}
	p.answered = true
	if f.Lost != nil { // this process's trouble, not the worker's
		c.charge.Release()
		c.finish(nil, f.Lost)
		return nil
	}
	out, err := wire.ParseOutcome(f)
	if err != nil {
		c.charge.Release()
	} else {
		out.Value.Charge(c.charge, p.intake.decoded)
	}
	c.finish(out, err)
	return err
}

// cancelled runs in a goroutine of its own once the caller's ctx is done.
func (c *call) cancelled(ctx context.Context) {
	grace := time.NewTimer(c.p.owner.opts.Grace)
	defer grace.Stop()
	if errors.Is(ctx.Err(), context.Canceled) {
		go c.sendCancel() // may block behind a large frame
	} // else the function's context has the same deadline
	select {
	case <-c.done:
		return
	case <-grace.C:
	}
	c.overdue.Store(true)
	c.p.retire()
	if len(c.p.othersOf(c)) > 0 {
		grace.Reset(c.p.owner.opts.Grace)
		select {
		case <-c.done:
			return
		case <-c.p.othersDone(c):
		case <-grace.C:
		}
	}
	c.p.kill(errOverdue)
}

var (
	errOverdue = errors.New("the function did not return after its context was cancelled")
	errAnother = errors.New("another call's function did not return after its context was cancelled, so the worker that they shared was killed; this call may be retried")
)

// forCall is what the end of the worker means to one of its calls.
func (e *DiedError) forCall(c *call) *DiedError {
	if e.Cause != errOverdue || c.overdue.Load() {
		return e
	}
	other := *e
	other.Cause = errAnother
	return &other
}

// othersOf gives the calls besides c that are not overdue themselves.
func (p *process) othersOf(c *call) (others []*call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.calls {
		if o != c && !o.overdue.Load() {
			others = append(others, o)
		}
	}
	return others
}

// othersDone is closed when only c is left, and calls that are overdue now.
func (p *process) othersDone(c *call) <-chan struct{} {
	done := make(chan struct{})
	others := p.othersOf(c)
	go func() {
		defer close(done)
		for _, o := range others {
			<-o.done
		}
	}()
	return done
}

func (c *call) sendCancel() {
	f := wire.Frame{Type: wire.Cancel, ID: c.id}
	if err := c.p.conn.Write(&f); err != nil {
		c.p.hangUp()
	}
}
