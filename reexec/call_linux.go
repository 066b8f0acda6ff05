package reexec

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/wire"
)

// call is one call in flight.
type call struct {
	p    *process
	id   uint64
	name string // of the function
	done chan struct{}
	out  *wire.Outcome
	err  error

	sent    chan struct{} // closed when the request was sent, or could not be
	over    chan struct{} // closed when the caller has the outcome
	overdue chan struct{} // closed when the function did not return in time after the cancelling

	most   int           // the largest size of its answer, in bytes
	charge *codec.Charge // for these bytes; belongs to the goroutine that reads
}

func (c *call) finish(out *wire.Outcome, err error) {
	c.out, c.err = out, err
	close(c.done)
}

// Do runs in the worker the registered function that req names. The deadline of the request is the
// deadline of ctx. Do does not return while the function runs. When ctx ends, the context of the
// function is cancelled. If the function does not return within the grace period, the worker is
// killed. Other calls in the worker have the same time again to finish before that.
//
// Files of the request stay the caller's. Files of the outcome belong to the caller.
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

// DoIsolated is Do in its own process, which has ended when the call returns. Close ends this
// process, too.
func (w *Worker) DoIsolated(ctx context.Context, req wire.Request) (*wire.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := w.getIsolated(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		p.leave() // it was the last call of a process that takes no more calls
		<-p.ended
	}()
	return p.call(ctx, req)
}

func (p *process) call(ctx context.Context, req wire.Request) (*wire.Outcome, error) {
	req.Deadline = deadlineOf(ctx)
	c := &call{p: p, name: req.Name, done: make(chan struct{}), sent: make(chan struct{}), over: make(chan struct{}), overdue: make(chan struct{}), most: wire.MaxOutcome(req.MaxResult)}
	defer close(c.over)
	p.mu.Lock()
	if p.calls == nil { // the worker has ended since enter
		p.mu.Unlock()
		<-p.ended
		return nil, &DiedError{Cause: errUnasked}
	}
	p.lastID++
	c.id = p.lastID
	p.calls[c.id] = c
	calls := len(p.calls)
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
	if calls == 1 || calls < fewCalls && p.apart.ask(p.proc.Pid) {
		err = p.conn.Write(&f)
	} else {
		err = p.conn.Gather(&f)
	}
	close(c.sent)
	if unsent := (*wire.UnsentError)(nil); errors.As(err, &unsent) {
		if p.drop(c.id) == nil { // the worker answered a call that it did not have
			<-c.done
			if c.out != nil {
				c.out.Close()
			}
		}
		return nil, unsent.Err
	}
	if err != nil {
		// Nothing more can be sent to the worker. read finds the same, and finishes the call.
		p.hangUp()
	}
	p.turns.await(c.done)
	if c.err != nil && ctx.Err() != nil {
		return nil, &ctxError{ctx.Err(), c.err}
	}
	return c.out, c.err
}

// drop removes a call from the calls in flight, if it is still there.
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
	if f.Lost != nil { // this is a failure of the call, not of the worker
		c.charge.Release()
		c.finish(nil, f.Lost)
		return nil
	}
	out, err := wire.ParseOutcome(f)
	if err != nil {
		c.charge.Release()
	} else {
		out.Value.Charge(c.charge, p.intake.decoded, p.owner.opts.MaxResult)
	}
	c.finish(out, err)
	select {
	case <-c.sent:
	default: // soon over, if the worker reads the request
		time.AfterFunc(p.owner.opts.Grace, func() {
			select {
			case <-c.over:
			default:
				p.kill(errUnread)
			}
		})
	}
	return err
}

// lastChance is how long a worker, once its time is over, may still run for its other calls.
const lastChance = 250 * time.Millisecond

// cancelled runs in its own goroutine once the caller's ctx is done. From half of the grace period
// on, the worker takes no new calls, so that those that it has can finish before it is killed.
func (c *call) cancelled(ctx context.Context) {
	grace := c.p.owner.opts.Grace
	timer := time.NewTimer(grace / 2)
	defer timer.Stop()
	end := wire.Cancel
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		end = wire.Expire
	}
	go c.sendEnd(end) // may block behind a large frame
	select {
	case <-c.over:
		return
	case <-timer.C:
	}
	c.p.retire()
	timer.Reset(grace - grace/2)
	select {
	case <-c.over:
		return
	case <-timer.C:
	}
	close(c.overdue)
	if others := c.p.others(); len(others) > 0 {
		timer.Reset(min(grace, lastChance))
		select {
		case <-c.over:
			return
		case <-allOver(others):
		case <-timer.C:
		}
	}
	c.p.kill(overdueError{c.name})
}

var (
	errOverdue = errors.New("the function did not return after its context was cancelled")
	errUnread  = errors.New("it answered a call without reading what it was sent, and was killed")
	errUnasked = errors.New("it ended before the call was sent, which may be retried")
	errAnother = errors.New("another call's function did not return after its context was cancelled, so the worker that they shared was killed; this call may be retried")
)

// overdueError is errOverdue of a function. Its call may have got its answer since, so that it is
// not among the worker's calls any more.
type overdueError struct{ name string }

func (overdueError) Error() string { return errOverdue.Error() }
func (overdueError) Unwrap() error { return errOverdue }

// forCall returns the error that the end of the worker means for one of its calls.
func (e *DiedError) forCall(c *call, all map[uint64]*call) *DiedError {
	own := *e
	var beside, overdue []string
	killed, isOverdue := errors.AsType[overdueError](e.Cause)
	if isOverdue {
		overdue = append(overdue, killed.name)
	}
	for _, other := range all {
		if other != c {
			beside = append(beside, other.name)
		}
		if other.isOverdue() {
			overdue = append(overdue, other.name)
		}
	}
	switch {
	case !isOverdue:
		own.Beside = each(beside)
	case !c.isOverdue():
		own.Cause = fmt.Errorf("%w (%s)", errAnother, list(each(overdue), 8))
	}
	return &own
}

// each lists the names, each of them once.
func each(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}

func (c *call) isOverdue() bool {
	select {
	case <-c.overdue:
		return true
	default:
		return false
	}
}

// others are the calls in flight that are not overdue.
func (p *process) others() (others []*call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.calls {
		if !c.isOverdue() {
			others = append(others, c)
		}
	}
	return others
}

// allOver is closed when each of calls has its answer, or is overdue too.
func allOver(calls []*call) <-chan struct{} {
	all := make(chan struct{})
	go func() {
		defer close(all)
		for _, c := range calls {
			select {
			case <-c.done:
			case <-c.overdue:
			}
		}
	}()
	return all
}

// deadlineOf is the deadline of ctx by the system's clock as it is set now. The zero time is no
// deadline.
func deadlineOf(ctx context.Context) time.Time {
	d, ok := ctx.Deadline()
	if !ok {
		return time.Time{}
	}
	now := time.Now()
	return byWall(d, now, now.Round(0))
}

// byWall is d without its monotonic reading. If the system's clock was set meanwhile, the time that
// is left by the monotonic clock counts. now is a reading of the monotonic clock, and wall one of
// the system's clock.
func byWall(d, now, wall time.Time) time.Time {
	const noise = time.Millisecond // two readings of clocks that nobody has set
	left := d.Sub(now)
	if off := d.Round(0).Sub(wall) - left; off < -noise || off > noise {
		return wall.Add(left)
	}
	return d.Round(0)
}

// sendEnd tells the worker that the context of the call has ended: Cancel or Expire. It must come
// after the request: a worker ignores it for a call that it does not know.
func (c *call) sendEnd(typ wire.FrameType) {
	select {
	case <-c.sent:
	case <-c.over:
		return
	}
	f := wire.Frame{Type: typ, ID: c.id}
	if err := c.p.conn.Write(&f); err != nil {
		c.p.hangUp()
	}
}
