package gonso

import "github.com/gonso/gonso/reexec"

func (w *Worker) options(joins []reexec.Join, protect bool) reexec.WorkerOptions {
	o := reexec.WorkerOptions{
		Join: joins, Protect: protect, KeepIDs: w.KeepIDs,
		Path: w.Path, Env: w.Env, Dir: w.Dir, Cgroup: w.Cgroup,
		Stderr: w.Stderr, StartTimeout: w.StartTimeout, Idle: w.Idle, Grace: w.Grace,
	}
	for _, r := range w.Rlimits {
		o.Rlimits = append(o.Rlimits, reexec.Rlimit(r))
	}
	return o
}
