package gonso

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"runtime"
	"strings"
	"time"

	"github.com/gonso/gonso/reexec"
)

// Worker has the settings of the process that runs a Set's registered functions. Without
// [Set.SetWorker] a Set has the zero Worker.
type Worker struct {
	// Path is a program that is started in place of this one. It calls [Init], and registers
	// functions with the same names and types. Use it if this program's main cannot call Init, as
	// in a plugin. Use it also if this program is dynamically linked and the Set's mount namespace
	// has no loader for it. Path is looked up outside when the first call needs it, and is the same
	// file until the Set is closed. If the program does not call Init, the call fails with an error
	// that names it.
	Path string

	// Env is the environment, as in exec.Cmd. Of duplicates the last one counts. Entries without
	// "=" are left as they are. Nil is the environment of this process. In Sets with user, pid or
	// mnt namespaces that somebody else made, nil is PATH, LANG, TZ and the variables of the Go
	// runtime.
	Env []string

	// Dir is the working directory, an absolute path inside. Empty is the working directory of this
	// process or, in another mount namespace, the root directory. If Dir does not exist, calls fail
	// with an error that names it. In another mount namespace links of procfs are not followed on
	// the way.
	Dir string

	// Rlimits are set in the worker before it enters anything, with the privileges of this process.
	// Go programs raise their soft limit of open files (RLIMIT_NOFILE) to the hard one when they
	// start. In somebody else's Set the limit of core files is 0, unless it is given here.
	Rlimits []Rlimit

	// Cgroup is a directory of cgroup v2, an absolute path outside. The worker is started in it
	// (CLONE_INTO_CGROUP, Linux 5.7), or moved to it before it runs. This takes the right to write
	// to cgroup.procs in it, and in the nearest directory above that also has this process below
	// it: see cgroups(7).
	Cgroup string

	// StartTimeout is the time that a worker may take from its start to Init. Zero is 30 seconds.
	StartTimeout time.Duration

	// Stderr gets the output of the worker and its functions, both standard error and standard
	// output. Nil is os.Stderr. A goroutine writes to it.
	Stderr io.Writer

	// Idle is the time that the worker stays without calls. The next call starts another worker.
	// Zero is 30 seconds. A negative Idle keeps the worker until the Set is closed.
	Idle time.Duration

	// Grace is the time that a function may take to return after the end of its context. Then it is
	// killed, with its worker. Zero is 5 seconds. After half of that time, new calls go to another
	// worker, and the other calls in the old one have the second half to return.
	Grace time.Duration

	// Spin is the time that this program and the worker look for the next frame of a call before
	// they sleep. Each gives its processor to others between two looks (sched_yield(2)). They look
	// only while calls come less than a millisecond after each other, and only if more than one
	// processor can be used. Zero is no looking. The most is a millisecond.
	//
	// To wake a thread on another processor takes ten times as long as a short call, and this time
	// is saved. Each side may use up to Spin of processor time after each call. Where others want
	// the processors, calls are slower than without it.
	Spin time.Duration

	// MaxResult bounds this program's memory, in bytes, that the result of one call takes, encoded
	// and decoded together. Zero is 60 MiB, enough for 30 MiB of text. The most is 160 MiB. A call
	// with a larger result fails, and other calls in the worker go on. All results that arrive at
	// once take no more than 162 MiB. Files and streams have no such bound.
	MaxResult int64

	// KeepIDs leaves the worker the uid and gid of this process. Without it, the worker becomes uid
	// and gid 0 of the Set's user namespace, if that maps 0 and is not this process's own.
	// Supplementary groups are dropped in both cases.
	//
	// With KeepIDs the worker has the capabilities that execve(2) leaves to its uid: all if the uid
	// is 0 inside, and otherwise no capabilities (capabilities(7)). Without KeepIDs the worker has
	// all capabilities. If uid 0 is not mapped, they are ambient: programs that functions start
	// have them as well, with every id.
	//
	// In a user namespace that somebody else made, KeepIDs is refused if this process's ids are not
	// mapped inside: root there would get them by way of the worker.
	KeepIDs bool

	// DynamicLoader lets a dynamically linked program, or helper, be the worker of a Set whose mnt
	// namespace somebody else made. The worker then runs the loader and the libraries that are
	// there, with all of its privileges. If there is no loader, the worker stays in this program's
	// mnt namespace, and each function enters the Set's mnt namespace on its own. Functions that
	// start goroutines fail then. Without DynamicLoader such a program is refused: build it with
	// CGO_ENABLED=0.
	DynamicLoader bool

	// HostFiles lets the worker be in a pid namespace of somebody else while it has the files of
	// this program. Root inside finds all of these files below /proc/PID/root of the worker, and
	// can read and write them. Without HostFiles, functions are refused in a Set that has somebody
	// else's pid namespace and not their mnt namespace.
	HostFiles bool
}

// SetWorker sets up the worker of this Set. It does not hold for a Dup, or for other Sets that are
// made from this one. Call it before anything has run in a process: after that it is an error.
// Slices in w are copied. A wrong field is an error that matches os.ErrInvalid. If Cgroup is not
// the directory of a cgroup, that is an error, too.
func (s *Set) SetWorker(w Worker) error {
	w, err := w.normalized()
	if err != nil {
		return err
	}
	c, err := s.acquire("set worker")
	if err != nil {
		return err
	}
	defer c.release()
	return c.setWorker(w)
}

var errHasWorker = errors.New("the Set has a worker already: SetWorker comes before what runs in it")

// normalized returns a copy of w that nobody changes, or what is wrong with it.
func (w Worker) normalized() (Worker, error) {
	bad := func(what string) (Worker, error) {
		return w, invalid("set worker", what)
	}
	switch {
	case w.Grace < 0:
		return bad(fmt.Sprintf("Grace is negative: %v", w.Grace))
	case w.StartTimeout < 0:
		return bad(fmt.Sprintf("StartTimeout is negative: %v", w.StartTimeout))
	case w.Spin < 0 || w.Spin > reexec.MaxSpin:
		return bad(fmt.Sprintf("Spin is %v, and not between 0 and %v", w.Spin, reexec.MaxSpin))
	case w.MaxResult < 0 || w.MaxResult > reexec.MaxMaxResult:
		return bad(fmt.Sprintf("MaxResult is %d, and not between 0 and %d", w.MaxResult, reexec.MaxMaxResult))
	}
	for _, p := range []struct{ name, path string }{{"Path", w.Path}, {"Dir", w.Dir}, {"Cgroup", w.Cgroup}} {
		switch {
		case p.path != "" && !path.IsAbs(p.path):
			return bad(fmt.Sprintf("%s is not an absolute path: %q", p.name, p.path))
		case strings.ContainsRune(p.path, 0):
			return bad(fmt.Sprintf("%s has a zero byte: %q", p.name, p.path))
		}
	}
	if what := badRlimits(w.Rlimits); what != "" {
		return bad(what)
	}
	w.Rlimits = append([]Rlimit(nil), w.Rlimits...)
	env, err := lastOfEach(w.Env)
	if err != nil {
		return bad(err.Error())
	}
	w.Env = env
	return w, nil
}

// lastOfEach copies an environment. If a variable comes twice, only the last one stays. nil stays
// nil. Like package exec, it takes entries without a name or without "=". os.Environ may have them,
// because the program's parent may pass any strings (execve(2)).
func lastOfEach(given []string) (env []string, err error) {
	if given == nil {
		return nil, nil
	}
	env, at := make([]string, 0, len(given)), make(map[string]int)
	for _, kv := range given {
		if strings.ContainsRune(kv, 0) {
			return nil, fmt.Errorf("%s has %q, which has a zero byte", "Env", kv)
		}
		if kv == "" {
			continue
		}
		i := strings.IndexByte(kv[1:], '=') + 1 // "=" may be the first byte of a name
		if i == 0 {
			env = append(env, kv)
			continue
		}
		name := kv[:i]
		if i, ok := at[name]; ok {
			env[i] = kv
			continue
		}
		at[name] = len(env)
		env = append(env, kv)
	}
	return env, nil
}

// Warm starts the Set's worker process, if it does not run yet, and waits for it. The next call of
// a registered function in a process then takes only a round trip. The worker ends when it is idle
// for a while, and the next call, or Warm, starts another.
//
// Errors and privileges are the same as for [Func.Do] with [InProcess]. Without a process backend
// the error matches [errors.ErrUnsupported]. If the program did not call [Init], it matches
// [ErrNotInitialized]. If ctx ends before the worker runs, Warm returns the error of ctx. The
// worker still starts, for the next call.
func (s *Set) Warm(ctx context.Context) error {
	c, err := s.acquireFor(ctx, "warm")
	if err != nil {
		return err
	}
	defer c.release()
	defer runtime.KeepAlive(s)
	if d := decide(c.facts(), work{inProcess: true, hostFiles: c.workerHostFiles()}); d.err != nil {
		return d.err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return c.workerError("warm", "", c.warm(ctx))
}
