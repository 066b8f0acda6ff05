package sys

import (
	"context"
	"errors"
	"os"
	"time"
)

// This file is how gonso waits for what may not let go. No call of it is held up by
// somebody else for longer than a bound: where the kernel does not let go, a goroutine is
// left behind, and the call returns with an error that says so.
//
// Every blocking point, what it waits for, its bound, and its test:
//
//	where                        | what blocks                      | bound                         | test
//	reexec/process_linux.go
//	  read                       | recvmsg, a worker that is silent | its end (watchEnd), kill      | TestWaits/child keeps the socket
//	  kill                       | a killed worker that stays       | killTimeout, then shutdown    | TestWaits/traced
//	  reap                       | wait4, a tracer or a stuck task  | exitTimeout, then killTimeout | TestWaits/traced
//	reexec/call_linux.go
//	  call                       | sendmsg, who does not read       | ctx + Grace; answer + Grace   | TestWaits/answers unread
//	  sendCancel                 | sendmsg behind a large frame     | in a goroutine; the kill      | TestWaits/reads nothing
//	reexec/launch_linux.go
//	  setOut                     | open, read of Worker.Path        | StartTimeout, Close           | TestCloseDuringStartReturns
//	  comeUp                     | read of status and socket        | StartTimeout, Close           | TestCloseDuringStartReturns
//	  abandon                    | wait4                            | exitTimeout + killTimeout     | TestCloseDuringStartReturns
//	reexec/supervisor_linux.go
//	  Close                      | startups, calls                  | they end it; Grace + kill     | TestWaits
//	reexec/cgroup_linux.go
//	  OpenCgroup                 | open                             | openTimeout                   | -
//	  startIn                    | clone into a frozen cgroup       | refused; freezeTimeout, kill  | TestFrozenCgroup
//	reexec/create_linux.go
//	  take, runMapper            | read of status                   | ctx                           | TestCreateEndsWithItsContext
//	  reap                       | wait4                            | exitTimeout, then killTimeout | -
//	reexec/stderr_linux.go stop  | a writer of the caller's         | killTimeout                   | TestStderr*
//	reexec/tool_linux.go         | wait4                            | ctx + exitTimeout             | TestTool*
//	internal/launcher/process.go
//	  Started, Continue          | write to the control pipe        | writeTimeout                  | TestStoppedLauncherEndsTheWriting
//	  Next                       | read of the status pipe          | ctx                           | TestNext*
//	  Follow, adopt              | read, wait4 of the original      | followPatience, reapTimeout   | -
//	internal/wire/conn_linux.go
//	  Close                      | close of the socket and of what  | CloseTimeout                  | TestCloseIsNotHeldUp
//	                             | is queued in it (SO_LINGER)      |                               |
//	  discard, Frame.Close       | close of received files          | CloseTimeout                  | TestLingering*
//	gonso/thread_linux.go
//	  runOnThread                | setns, open, chdir on a thread   | ctx, stepTimeout              | TestSilentFileSystem*
//	                             | a function of the caller's       | none: it returns with it      |
//	gonso/cmd.go
//	  Start                      | read of status                   | ctx, StartTimeout             | TestSilentFileSystem*
//	  Wait                       | wait4 of who was killed          | killedTimeout                 | TestTracedCommand*
//	gonso/stream_linux.go finish | read of a pipe, a Read, a Write  | ctx + Grace                   | TestStream*
//	gonso/pool.go Close          | the caller's function, Set.Close | poolGrace; that of Set.Close  | TestPool*
//	child/server_linux.go
//	  serve, answer              | recvmsg, sendmsg                 | the parent's end; PDEATHSIG   | TestKilledParent*

// CloseTimeout is how long a file that came from somebody else may take to be closed.
const CloseTimeout = 100 * time.Millisecond

// ErrLeftBehind is matched by the error of what has not let go in time.
var ErrLeftBehind = errors.New("the kernel does not let go of it; a goroutine of this program is left behind, and waits on")

// Within runs do in a goroutine, and returns what it does, or the cause of ctx with
// [ErrLeftBehind] if ctx is done first. What do gives later is handed to late.
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

// WithinTime reports whether do, which goes on in a goroutine otherwise, is over in time.
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

// CloseReceived closes files that came from somebody else: a socket among them may linger
// (SO_LINGER), which is taken back, a file system may not answer. What takes long is closed
// later.
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
