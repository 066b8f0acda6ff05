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

// Worker says how the process in which a Set's registered functions run is to
// be. The zero Worker is what a Set has without [Set.SetWorker].
type Worker struct {
	// Path is a program to be started in place of this one: one that calls [Init]
	// and registers functions by the same names and types, where this one's main is
	// out of reach (as in a plugin), or it is dynamically linked and the Set's mount
	// namespace has no loader for it. It is looked up outside, when the first call
	// needs it, and is the same file until the Set is closed. A program that is
	// not such a one fails the call, with an error that names it.
	Path string

	// Env is the environment, as of exec.Cmd; of variables that come twice the last
	// counts, and entries that have no "=" are left as they are. Nil is this process's, or, in Sets with user, pid or mnt
	// namespaces that somebody else made, PATH, LANG, TZ and what the Go runtime reads.
	Env []string

	// Dir is the working directory, an absolute path inside. Empty is this
	// process's or, in another mount namespace, its root. If it is not there,
	// calls fail with an error that names it. In another mount namespace no links of
	// procfs are followed on the way.
	Dir string

	// Rlimits are set in the worker before it enters anything, with the
	// privileges of this process. Go programs raise their soft limit of open files
	// (RLIMIT_NOFILE) to the hard one when they start. In Sets of somebody else that of
	// core files is 0 unless it is given here.
	Rlimits []Rlimit

	// Cgroup is a directory of cgroup v2, an absolute path outside, in which the
	// worker is started (CLONE_INTO_CGROUP, Linux 5.7), or to which it is moved
	// before it runs where that does not go. It takes the right to
	// write to cgroup.procs there, and in the nearest directory above that has
	// this process below it as well, see cgroups(7).
	Cgroup string

	// StartTimeout is how long a worker may take from its start to Init. Zero is 30
	// seconds.
	StartTimeout time.Duration

	// Stderr gets what the worker and its functions print, on standard output as
	// well; nil is os.Stderr. It is written to from a goroutine.
	Stderr io.Writer

	// Idle is how long the worker stays without calls; the next one starts another.
	// Zero is 30 seconds; negative is until the Set is closed.
	Idle time.Duration

	// Grace is how long a function may take to return once its context is done,
	// before it is killed along with its worker. Zero is 5 seconds. When half of that is over,
	// new calls go to another worker; the other calls in the old one have the other half to return.
	Grace time.Duration

	// Spin is how long this program and the worker look for the next frame of a call before they sleep. Each yields
	// its processor between two looks (sched_yield(2)). They do so only while calls come less than a millisecond
	// after one another, and where more than one processor can be used. Zero is not at all; the most is a millisecond.
	//
	// A short call then takes a tenth of the time that it takes to wake a thread on another processor. Each side may
	// use so much processor time after each call, and where others want the processors calls are slower than without.
	Spin time.Duration

	// MaxResult is how many bytes of this program's memory the result of one call may take, encoded and
	// decoded together. Zero is 60 MiB, which is 30 MiB of text; the most is 160 MiB. A call with a larger
	// result fails; others in the worker go on. All results that arrive at once take no more than 162 MiB.
	// Files and streams have no such bound.
	MaxResult int64

	// KeepIDs leaves the worker the uid and gid of this process. Without it, it
	// becomes uid and gid 0 of the Set's user namespace, if 0 is mapped there and
	// it is not this process's own. Supplementary groups are dropped either way.
	// Capabilities inside are then what exec leaves to the uid: all if it is 0 inside,
	// else none (capabilities(7)). Without KeepIDs the worker has all of them; where uid 0
	// is not mapped they are ambient ones, which the programs that functions start have as
	// well, whatever ids those get.
	//
	// In a user namespace that somebody else made it is refused where this process's
	// ids are not mapped inside: root there would have them by way of the worker.
	KeepIDs bool

	// DynamicLoader lets a dynamically linked program, or helper, be the worker of a
	// Set whose mnt namespace somebody else made. It runs the loader and the libraries that
	// it finds there, with all that the worker may do. Where there is no loader the worker
	// stays in this program's mnt namespace, and its functions enter the Set's one by one;
	// those that start goroutines fail. Without it, such a program is refused: build
	// it with CGO_ENABLED=0.
	DynamicLoader bool

	// HostFiles lets the worker be in a pid namespace of somebody else with the
	// files of this program. Root inside finds all of them below /proc/PID/root of the
	// worker, to read and to write. Without it functions of a Set that has such a pid
	// namespace and no mnt namespace of theirs are refused.
	HostFiles bool
}

// SetWorker sets how the Set's worker is to be. It is for that Set alone, not for
// a Dup or what is made from it, and comes before anything has run in a process:
// afterwards it is an error. Slices in w are copied. What is wrong with w is an
// error that matches os.ErrInvalid; a Cgroup that is not one now is an error, too.
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

// lastOfEach copies an environment and keeps the last of the variables that come
// twice; nil stays nil. As package exec it takes what os.Environ may give: entries without a
// name, or without "=", which whoever has started this program may have passed (execve(2)).
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

// Warm starts the Set's worker process, unless it runs already, and waits for
// it, so that the next call of a registered function in a process pays only a
// round trip. Like any worker it ends when it was idle for a while, and the
// next call, or Warm, starts another.
//
// Errors and privileges are those of [Func.Do] with [InProcess]: where there is
// no process backend the error matches [errors.ErrUnsupported], and where the program
// did not call [Init], [ErrNotInitialized]. When ctx is done before the worker
// is there, Warm returns its error; the worker still comes up, for who asks next.
func (s *Set) Warm(ctx context.Context) error {
	if ctx == nil {
		return invalid("warm", "the context is nil")
	}
	c, err := s.acquire("warm")
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
