package gonso

import (
	"context"
	"errors"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/wire"
)

// callOnThread runs a registered function on a thread. It encodes and decodes the outcome as the
// wire does, so that threads and processes give the same outcome. It owns the argument's files; the
// caller owns the files of the outcome.
func (c *core) callOnThread(ctx context.Context, h child.Handler, in codec.Value, clean bool, o doConfig) (*wire.Outcome, error) {
	defer in.Close()
	var out *wire.Outcome
	var cerr error
	err := c.runOnThread(ctx, c.threadJoin, func(r *threadRun) bool {
		if err := r.takePlace(o); err != nil {
			out, cerr = (&wire.Outcome{Kind: wire.Unserved, Err: err}).Cross()
			return false
		}
		if !r.begin() {
			return false
		}
		returned := false
		child.Invoke(withoutValues{ctx}, h, in, func(o *wire.Outcome) {
			returned = o.Kind == wire.Returned
			out, cerr = o.Cross()
		})
		return clean && returned
	}, nil)
	switch {
	case errors.Is(err, sys.ErrLeftBehind):
		return nil, err
	case out != nil: // even if the thread could not go home
		return out, nil
	case cerr != nil:
		return nil, cerr
	}
	return nil, err
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
