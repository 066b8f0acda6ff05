package gonso

import (
	"context"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/reexec"
	"github.com/gonso/gonso/reexec/wire"
)

// callOnThread runs a registered function on a thread. Its outcome goes through
// the wire's encoding, which is what makes it the same as from a process.
func (c *core) callOnThread(ctx context.Context, h child.Handler, in []byte, clean bool) (*wire.Outcome, error) {
	var encoded []byte
	var eerr error
	err := c.runOnThread(c.threadJoin, func(*threadRun) bool {
		returned := false
		child.Invoke(withoutValues{ctx}, h, in, func(out *wire.Outcome) {
			returned = out.Kind == wire.Returned
			encoded, eerr = out.Marshal()
		})
		return clean && returned
	})
	switch {
	case err != nil && encoded == nil:
		return nil, err
	case eerr != nil:
		return nil, eerr
	}
	return wire.UnmarshalOutcome(encoded)
}

// callInProcess runs a registered function in the Set's worker, or in a process
// of its own.
func (c *core) callInProcess(ctx context.Context, name string, in []byte, isolated bool) (*wire.Outcome, error) {
	if isolated {
		return c.getWorker().CallIsolated(ctx, name, in)
	}
	return c.getWorker().Call(ctx, name, in)
}

func (c *core) setWorker(w Worker) error {
	c.workerMu.Lock()
	defer c.workerMu.Unlock()
	if c.worker != nil {
		return &Error{Op: "set worker", Err: errHasWorker}
	}
	if w.Cgroup != "" {
		f, err := reexec.OpenCgroup(w.Cgroup)
		if err != nil {
			return workerError("Cgroup", err)
		}
		f.Close()
	}
	c.workerAs = w
	return nil
}

// warm starts the Set's worker.
func (c *core) warm(ctx context.Context) error { return c.getWorker().Warm(ctx) }

func (c *core) getWorker() *reexec.Worker {
	c.workerMu.Lock()
	defer c.workerMu.Unlock()
	if c.worker == nil {
		c.worker = reexec.NewWorker(c.workerAs.options(c.joins(c.foreign), c.exposes(c.foreign)))
		if c.closed.Load() { // Close has not seen it
			c.worker.Close()
		}
	}
	return c.worker
}
