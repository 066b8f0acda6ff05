package gonso

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/reexec"
)

func (w *Worker) options(joins []reexec.Join, protect, foreignRoot bool) reexec.WorkerOptions {
	o := reexec.WorkerOptions{
		Join: joins, Protect: protect, KeepIDs: w.KeepIDs, ForeignRoot: foreignRoot, DynamicLoader: w.DynamicLoader,
		Path: w.Path, Env: w.Env, Dir: w.Dir, Cgroup: w.Cgroup,
		MaxResult: w.MaxResult, Stderr: w.Stderr, StartTimeout: w.StartTimeout, Idle: w.Idle, Grace: w.Grace, Spin: w.Spin,
	}
	for _, r := range w.Rlimits {
		o.Rlimits = append(o.Rlimits, reexec.Rlimit(r))
	}
	return o
}

// grace is the grace period of the Set's worker. Streams and channels of a call have it, too.
func (c *core) grace() time.Duration {
	c.workerMu.Lock()
	defer c.workerMu.Unlock()
	if g := c.workerAs.Grace; g > 0 {
		return g
	}
	return reexec.DefaultGrace
}

// workerHostFiles is Worker.HostFiles of the Set's worker.
func (c *core) workerHostFiles() bool {
	c.workerMu.Lock()
	defer c.workerMu.Unlock()
	return c.workerAs.HostFiles
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
func (c *core) warm(ctx context.Context) error {
	w, err := c.checkedWorker()
	if err != nil {
		return err
	}
	return w.Warm(ctx)
}

// checkedWorker is getWorker, and fails if the worker must not keep the ids that it would keep.
func (c *core) checkedWorker() (*reexec.Worker, error) {
	c.workerMu.Lock()
	own := c.workerAs.Path == ""
	unchecked := c.worker == nil && c.workerAs.KeepIDs
	elevated := c.worker == nil && own && c.foreign&User == 0 && !c.exposes(c.foreign)
	c.workerMu.Unlock()
	if own {
		if err := checkInit(); err != nil {
			return nil, err
		}
	}
	if elevated {
		if secure, err := sys.Secure(); secure || err != nil { // after an error, the worker would not know, either
			return nil, newError("start worker", 0, "", errElevated).
				withHint("call the function with InThread; or let the program have its capabilities as ambient ones, by setpriv --ambient-caps or AmbientCapabilities= of systemd, " +
					"and not from its file; or name a helper without them, Worker.Path")
		}
	}
	if unchecked {
		if err := c.refuseUnmapped("start worker", "Worker.KeepIDs"); err != nil {
			return nil, err
		}
	}
	return c.getWorker(), nil
}

// errElevated is for a worker that would be this program, which then refuses to serve.
var errElevated = sys.Wrap("this program has privileges by its file, a setuid or setgid bit or capabilities, and with these it cannot be a worker, "+
	"or whoever starts it could choose what it runs (AT_SECURE)", os.ErrPermission)

// refuseUnmapped refuses to keep ids in somebody else's user namespace if root there does not have
// them. Root inside may trace the process, and would then act with its ids. With uid 0 of outside,
// root inside could write to /proc/sys, core_pattern included.
func (c *core) refuseUnmapped(op, field string) error {
	if c.opened&User == 0 {
		return nil
	}
	u, g, err := c.idMaps()
	if err != nil {
		return err
	}
	uids, err := parseIDMaps(u)
	if err != nil {
		return newError(op, User, "", err)
	}
	gids, err := parseIDMaps(g)
	if err != nil {
		return newError(op, User, "", err)
	}
	ruid, euid, suid := unix.Getresuid()
	rgid, egid, sgid := unix.Getresgid()
	for _, ids := range []struct {
		name string
		maps []IDMap
		ids  []int
	}{{"uid", uids, []int{ruid, euid, suid}}, {"gid", gids, []int{rgid, egid, sgid}}} {
		for _, id := range ids.ids {
			if !mapped(ids.maps, uint32(id)) {
				return newError(op, User, "", fmt.Errorf("%s: %s %d of this process is not mapped inside: %w", field, ids.name, id, os.ErrInvalid)).
					withHint("root there would have it by tracing what runs with it; leave " + field + " out")
			}
		}
	}
	return nil
}

func (c *core) getWorker() *reexec.Worker {
	c.workerMu.Lock()
	defer c.workerMu.Unlock()
	if w, ok := c.worker.(*reexec.Worker); ok {
		return w
	}
	w := reexec.NewWorker(c.workerAs.options(c.joins(c.foreign), c.exposes(c.foreign), c.foreignRoot()))
	c.worker = w
	if c.closed.Load() { // Close ran before, and has not closed this worker
		w.Close()
	}
	return w
}
