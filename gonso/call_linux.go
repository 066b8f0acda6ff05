package gonso

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/internal/wire"
	"github.com/gonso/gonso/reexec"
)

// callOnThread runs a registered function on a thread. Its outcome goes through
// the wire's encoding, which is what makes it the same as from a process. The
// files belong to the function, those of the outcome to the caller.
func (c *core) callOnThread(ctx context.Context, h child.Handler, in []byte, files []*os.File, clean bool, o doConfig) (*wire.Outcome, error) {
	var encoded []byte
	var sent []*os.File
	var eerr error
	ran := false
	err := c.runOnThread(c.threadJoin, func(r *threadRun) bool {
		if err := r.takePlace(o); err != nil {
			encoded, eerr = (&wire.Outcome{Kind: wire.Unserved, Err: err}).Marshal()
			return false
		}
		ran = true
		returned := false
		child.Invoke(withoutValues{ctx}, h, in, files, func(out *wire.Outcome) {
			returned = out.Kind == wire.Returned
			encoded, eerr = out.Marshal()
			sent = out.Files
		})
		return clean && returned
	})
	if !ran {
		wire.CloseFiles(files)
	}
	switch {
	case err != nil && encoded == nil:
	case eerr != nil:
		err = eerr
	default:
		var out *wire.Outcome
		if out, err = wire.UnmarshalOutcome(encoded); err == nil {
			out.Files = sent
			return out, nil
		}
	}
	wire.CloseFiles(sent)
	return nil, err
}

// callInProcess runs a registered function in the Set's worker, or in a process
// of its own. The files are duplicates to be sent.
func (c *core) callInProcess(ctx context.Context, name string, in []byte, files []*os.File, o doConfig) (*wire.Outcome, error) {
	defer func() { wire.CloseFiles(files) }()
	if o.place.Root {
		root, err := wire.DupFile(o.root)
		if err != nil {
			return nil, newError("call", 0, name, err)
		}
		files = append(files, root)
	}
	req := wire.Request{Name: name, Value: in, Files: files, Place: o.place}
	if o.isolated {
		req.Place.Whole = o.place != (wire.Place{})
		return c.getWorker().DoIsolated(ctx, req)
	}
	return c.getWorker().Do(ctx, req)
}

// grace is that of the Set's worker, for what else has to end with a call.
func (c *core) grace() time.Duration {
	c.workerMu.Lock()
	defer c.workerMu.Unlock()
	if g := c.workerAs.Grace; g > 0 {
		return g
	}
	return reexec.DefaultGrace
}

func (c *core) setWorker(w Worker) error {
	c.workerMu.Lock()
	defer c.workerMu.Unlock()
	if c.worker != nil {
		return newError("set worker", 0, "", errHasWorker)
	}
	if w.Cgroup != "" {
		f, err := reexec.OpenCgroup(w.Cgroup)
		if err != nil {
			return newError("set worker", 0, "", fmt.Errorf("Cgroup: %w", err))
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
