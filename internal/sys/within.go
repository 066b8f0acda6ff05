package sys

import (
	"context"
	"errors"
	"os"
	"time"
)

// This file is how gonso waits where the kernel may block for long. Nobody else can make a call of
// gonso wait for longer than a bound. If the kernel still blocks then, a goroutine is left behind,
// and the call returns an error that says so.
//
// Every blocking point: where | what blocks | its bound | its test (-: it has no test of its own).
//
//	reexec/process_linux.go
//	  read          | read: a worker that says nothing       | its end, or kill          | TestWaits
//	  watchEnd      | read: a pidfd, until the worker's end  | closed with the worker    | TestWaits/child_keeps_the_socket
//	  kill          | wait: it was killed, but does not end  | KillTimeout, Shutdown     | TestTracedWorker...
//	  reap          | wait: a tracer, a task stuck in open   | exitTimeout, KillTimeout  | TestTracedWorker...
//	reexec/call_linux.go
//	  call          | write: the worker does not read        | ctx + Grace               | TestWaits/reads_nothing, drip
//	                | write: it answers, and does not read   | the answer + Grace        | TestWaits/answers_unread
//	  sendEnd       | write: behind a large frame            | a goroutine; the kill     | TestWaits/reads_nothing
//	  cancelled     | wait: other calls in the same worker   | Grace again               | TestKilledWorkersCallsAreToldWhy
//	reexec/launch_linux.go
//	  setOut        | open, read: Worker.Path                | StartTimeout, Close       | TestCloseDuringStart.../path
//	  startIn       | clone, exec: into a frozen cgroup      | refused; freezeTimeout    | TestFrozenCgroup
//	  comeUp        | read: status pipe, socket              | StartTimeout, Close       | TestCloseDuringStart...
//	  abandon       | wait                                   | exitTimeout, KillTimeout  | TestCloseDuringStart...
//	reexec/lasting_linux.go
//	  onLastingThread | exec: closes what this program has open | ctx, StartTimeout   | TestOpenFileThatIsNotClosed...
//	  onThreadLike  | the same on a thread of other privileges | none: the caller chose it | -
//	reexec/rehearse_linux.go
//	  Rehearse      | close: copies of what is open          | ctx, leavePatience        | TestOpenFileThatIsNotClosed...
//	reexec/supervisor_linux.go
//	  get           | wait: a startup                        | ctx                       | TestCloseDuringStart...
//	  Close         | wait: startups, which it ends          | as abandon                | TestCloseDuringStart...
//	                | wait: workers                          | Grace, then as reap       | TestWaits, TestTracedWorker...
//	reexec/cgroup_linux.go
//	  OpenCgroup    | open                                   | openTimeout               | -
//	  joinCgroup    | write: a lock of the kernel's own      | none needed               | -
//	reexec/create_linux.go, idmaps_linux.go, witness_linux.go
//	  take and others | read: status pipe                      | ctx                       | TestCreateGivesUpWithItsContext
//	  Create and others | wait                                 | exitTimeout, KillTimeout  | -
//	reexec/reaper_linux.go
//	  Close         | wait: in a goroutine                   | exitTimeout, then killed  | -
//	  watch         | wait: the init, in a goroutine         | none: it is waited for    | TestWaitForAChildThatIsNotReaped
//	reexec/program_linux.go
//	  follow        | read: status pipe; the program's open, exec, chdir | ctx, StartTimeout | TestSilentFileSystem...
//	reexec/stderr_linux.go
//	  stop          | write: the caller's writer             | KillTimeout               | TestStderrTailIsBounded
//	reexec/tool_linux.go
//	  RunTool       | read, wait: a tool of the system       | ctx, exitTimeout          | TestToolReapedByOthers...
//	internal/launcher/process.go
//	  Started, Continue | write: a launcher that is stopped  | writeTimeout              | -
//	  Next          | poll                                   | soon                      | TestNextContext
//	                | read                                   | ctx                       | TestNextContext
//	  Follow        | read: the id of a child                | ctx, followPatience       | TestFollow
//	  adopt, prove  | wait                                   | writeTimeout, KillTimeout | -
//	  start         | clone, exec: the launcher's image, in memory | see CloneInto       | TestFrozenCgroup
//	internal/wire/conn_linux.go
//	  Read          | read: its user decides                 | SetReadDeadline, Shutdown | TestWaits
//	                | epoll_ctl: files that came             | not asked: NewFile        | TestWaits/unready...
//	  Write         | write: its user decides                | Shutdown, Close           | TestWaits
//	  Close         | close: what is queued in the socket    | CloseTimeout              | TestLingeringSocket...
//	  recv          | close: what the kernel finds no room for | room for all of it      | TestLingeringSocket.../too_many
//	  discard, Frame.Close, Outcome.Close | close            | CloseTimeout              | TestLingeringSocket...
//	internal/codec/files.go
//	  Decode        | close: files that nobody asked for     | CloseTimeout              | TestWaits/lingering_result
//	gonso/thread_linux.go
//	  runOnThread   | open, chdir, setns on a thread         | ctx, stepTimeout (Coarse) | TestSilentFileSystem...
//	                | a function of the caller's             | none: it is waited for    | TestFunctionOnThread...
//	gonso/net.go
//	  dialFound     | statx, connect: a file system          | ctx, dialLimit            | -
//	gonso/net_linux.go
//	  insideSet, lookup | wait: the worker                   | ctx, stepTimeout, lookupTimeout | TestSilentFileSystem...
//	gonso/cmd.go
//	  Start         | clone: Cmd.Cgroup; then as follow      | see CloneInto, follow     | TestFrozenCgroupIsSaid
//	                | exec: closes what this program has open | ctx, rehearsed       | TestOpenFileThatIsNotClosed...
//	  Wait          | wait: the program was killed           | ctx, KillTimeout          | TestTracedCommand...
//	                | read: streams that somebody keeps      | WaitDelay, as exec.Cmd    | -
//	gonso/cmd_missing_linux.go
//	  find, interpreter | open, read: files inside       | lookTimeout               | -
//	gonso/stream_linux.go
//	  finish        | read: a pipe; Read, Write of the caller's | ctx + Grace, lateDrain | TestStreamsDoNotKeepDo
//	gonso/pool.go
//	  Close         | the caller's function; Sets            | poolGrace; as Set.Close   | TestPoolClose
//	child/main_linux.go, server_linux.go (the worker's own end)
//	  serve, answer | read, write                            | the parent's end: its socket, PDEATHSIG | TestKilledParent...
//	reexec/compose_linux.go (the launcher)
//	  Wait, Sync    | read, write                            | the parent's end: its pipes, PDEATHSIG  | TestKilledParent...

// CloseTimeout is how long a file that came from somebody else may take to be closed.
const CloseTimeout = 100 * time.Millisecond

// KillTimeout is how long a process may take to end, and to be reaped, once it was killed.
const KillTimeout = 500 * time.Millisecond

// ErrLeftBehind is matched by the error of a call that the kernel still blocked at its bound.
var ErrLeftBehind = errors.New("the kernel does not let go of it; a goroutine of this program is left behind, and waits on")

// Within runs do in a goroutine, and returns its results. If ctx is done first, it returns the
// cause of ctx with [ErrLeftBehind], and hands a later result of do to late.
func Within[T any](ctx context.Context, do func() (T, error), late func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	c := make(chan result, 1)
	go func() {
		v, err := do()
		c <- result{v, err}
	}()
	select {
	case r := <-c:
		return r.v, r.err
	case <-ctx.Done():
	}
	select {
	case r := <-c: // at the same time
		return r.v, r.err
	default:
	}
	if late != nil {
		go func() {
			if r := <-c; r.err == nil {
				late(r.v)
			}
		}()
	}
	var nothing T
	return nothing, errors.Join(context.Cause(ctx), ErrLeftBehind)
}

// WithinTime reports whether do is over in time. If not, do goes on in a goroutine.
func WithinTime(limit time.Duration, do func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	return Done(done, limit)
}

// Done reports whether c is closed in time.
func Done(c <-chan struct{}, limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return false
	}
}

// CloseReceived closes files that came from somebody else. A socket among them may linger
// (SO_LINGER): this option is unset first. A file system may not answer. Files that take long are
// closed later, in the background.
func CloseReceived(files []*os.File) {
	if len(files) == 0 {
		return
	}
	WithinTime(CloseTimeout, func() {
		for _, f := range files {
			noLinger(f)
			f.Close()
		}
	})
}
