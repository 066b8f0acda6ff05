package gonso

import (
	"context"
	"fmt"
	"time"

	"github.com/gonso/gonso/reexec"
)

func (w *Worker) options(joins []reexec.Join, protect, foreignRoot bool) reexec.WorkerOptions {
	o := reexec.WorkerOptions{
		Join: joins, Protect: protect, KeepIDs: w.KeepIDs, ForeignRoot: foreignRoot, DynamicLoader: w.DynamicLoader,
		Path: w.Path, Env: w.Env, Dir: w.Dir, Cgroup: w.Cgroup,
		Stderr: w.Stderr, StartTimeout: w.StartTimeout, Idle: w.Idle, Grace: w.Grace,
	}
	for _, r := range w.Rlimits {
		o.Rlimits = append(o.Rlimits, reexec.Rlimit(r))
	}
	return o
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
			return newError("set worker", 0, "", fmt.Errorf("%s: %w", "Cgroup", err))
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
		c.worker = reexec.NewWorker(c.workerAs.options(c.joins(c.foreign), c.exposes(c.foreign), c.foreignRoot()))
		if c.closed.Load() { // Close has not seen it
			c.worker.Close()
		}
	}
	return c.worker
}
