package gonso

import (
	"context"
	"errors"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/wire"
)

// threadCall is a call of a registered function on a thread.
type threadCall struct {
	ctx   withoutValues
	h     child.Handler
	in    codec.Value
	o     doConfig
	clean bool // the function leaves the thread as it was, if it returns

	out      *wire.Outcome
	err      error
	returned bool
}

// callOnThread runs a registered function on a thread. It encodes and decodes the outcome as the
// wire does, so that threads and processes give the same outcome. It owns the argument's files; the
// caller owns the files of the outcome.
func (c *core) callOnThread(ctx context.Context, h child.Handler, in codec.Value, clean bool, o doConfig) (*wire.Outcome, error) {
	defer in.Close()
	call := &threadCall{ctx: withoutValues{ctx}, h: h, in: in, o: o, clean: clean}
	err := c.runOnThread(ctx, c.threadJoin, call.run, nil)
	switch {
	case errors.Is(err, sys.ErrLeftBehind):
		return nil, err
	case call.out != nil: // even if the thread could not go home
		return call.out, nil
	case call.err != nil:
		return nil, call.err
	}
	return nil, err
}

// run reports whether the thread may be given back.
func (c *threadCall) run(r *threadRun) bool {
	if err := r.takePlace(c.o); err != nil {
		c.cross(&wire.Outcome{Kind: wire.Unserved, Err: err})
		return false
	}
	if !r.begin() {
		return false
	}
	child.Invoke(&c.ctx, c.h, c.in, c.cross)
	return c.clean && c.returned
}

func (c *threadCall) cross(o *wire.Outcome) {
	c.returned = o.Kind == wire.Returned
	c.out, c.err = o.Cross()
}

// callInProcess runs a registered function in the Set's worker, or in a new process. The result has
// at most most bytes. callInProcess owns the argument's files.
func (c *core) callInProcess(ctx context.Context, name string, most int, in codec.Value, o doConfig) (*wire.Outcome, error) {
	defer in.Close()
	worker, err := c.checkedWorker()
	if err != nil {
		return nil, err
	}
	req := wire.Request{Name: name, MaxResult: most, Value: in, Place: c.place(o), EndThread: o.endThread}
	if o.isolated {
		req.Place.Whole = o.place != (sys.Place{})
		return worker.DoIsolated(ctx, req)
	}
	return worker.Do(ctx, req)
}
