package gonso

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"

	"github.com/gonso/gonso/internal/handshake"
)

// selfEnv marks this program as started by a Cmd of Self, of the copy of gonso with that
// [handshake.Module]. The copy removes it from the environment at once: programs that this one
// starts must not have it.
const selfEnv = "GONSO_SELF"

var isSelf = func() bool {
	marked := os.Getenv(selfEnv) == handshake.Module
	if marked {
		os.Unsetenv(selfEnv)
	}
	return marked
}()

// Self returns the Cmd to run this very program in the Set. Its main runs inside, with the given
// arguments, and as root if the Set has a user namespace. [Init] returns there. The program is
// executed by descriptor. So its file need not exist inside, and it is the same program even if its
// file was replaced.
//
// In a Set of the caller's own, the file itself is executed, and os.Executable finds it if the Set
// shows it. In namespaces that somebody else made ("Somebody else's Set" in the package's
// documentation), a sealed copy in memory is executed, which nobody inside can overwrite.
// /proc/self/exe then names no file that exists, and os.Executable returns a name like
// "/memfd:gonso (deleted)". The copy takes about a millisecond for each MiB of the program, once
// for each Cmd, and as much memory as the program is large.
//
// Self can also run a function of this program in the new process, which then becomes another
// program. This is for pivot_root(2), seccomp filters and security labels, because Cmd has no
// fields for them:
//
//   - Register the function with github.com/moby/sys/reexec. [Init] calls it if Args[0] is its
//     name.
//   - Set Args to that name and to the function's arguments, and ExtraFiles to its files.
//   - Begin the function with runtime.LockOSThread. Filters, labels, capabilities and no_new_privs
//     belong to a thread, and the program has those of the thread that calls execve(2).
//   - End it with unix.Exec. If that fails, exit with a status of your own.
//
// The fields of Cmd hold from the start of the function on.
func (s *Set) Self(ctx context.Context, args ...string) *Cmd {
	c := s.Command(ctx, ownName(), args...)
	c.self = true
	return c
}

// ownName is the name that this program was started by. Its parent may have given it no name, or a
// useless one, and an init function may have changed os.Args. A worker, and a process in which Init
// runs an initializer, has the name of that: a program of this name would be the same, and no main.
func ownName() string {
	if len(os.Args) == 0 || os.Args[0] == "" || os.Args[0] == handshake.Name || inInitializer.Load() {
		return "/proc/self/exe" // path: a name, which nobody opens
	}
	return os.Args[0]
}

// inInitializer is true while Init runs an initializer of moby/sys/reexec.
var inInitializer atomic.Bool

var errLoop = errors.New("this program was itself started by Self, and would start itself again and again: what decides to call RunAndExit does not change inside")

// RunAndExit runs the command in the place of this program and does not return.
//
// Streams that are not set are the streams of this process.
//
// Signals: this process passes on to the command all signals that it can catch, except those about
// its own work: SIGCHLD, SIGURG, SIGPIPE, SIGTTIN and SIGTTOU. It also does not pass on signals
// that it was started to ignore. No process can catch SIGKILL and SIGSTOP. No Go program can catch
// SIGPROF, the signals 32, 33 and 34 (34 is SIGRTMIN of glibc), and the signals of its own errors:
// SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV and SIGSYS. These six end it, and the command with it.
// The command stays in the process group, and so at the terminal. A signal from the keyboard, or to
// the group, reaches the command directly, and only once. A tiny process in the same group tells
// such signals from the others. In namespaces that somebody else made, the command has a session of
// its own, unless KeepSession is set. There all signals are passed on, and ^Z has no effect.
//
// Stopping and killing: while the command is stopped, this process is stopped, too. If SIGKILL
// kills this process, the command is killed, too, unless Pdeathsig says otherwise.
//
// The end: this process ends as the command did. It exits with the same status, or ends by SIGHUP,
// SIGINT, SIGKILL or SIGTERM if that signal ended the command. For another signal it exits with 128
// and the number of the signal. It also does that if the signal cannot end it: a signal that it
// ignores, and every signal if it is pid 1 of its pid namespace, as in a container. Deferred
// functions do not run.
//
// Orphans: if this process is pid 1 of its pid namespace, as in a container, it reaps the processes
// that the command leaves behind. A child that the program has started itself is reaped, too, if
// nobody waits for it when it ends.
//
// The functions in started are called when the command has started, one after another, with the id
// of its process, which is also in [Cmd].Process. Signals are passed on while they run.
//
// If the command cannot be started, RunAndExit prints the error on standard error. The status is
// 127 if the program, its interpreter or its loader does not exist, 126 if the program exists and
// cannot be executed, and 125 otherwise, for example for Dir. It is 125, too, in a program that was
// itself started by RunAndExit of Self, and calls that again.
func (c *Cmd) RunAndExit(started ...func(pid int)) {
	if c.self && isSelf {
		exitWith(125, errLoop)
	}
	passing := passSignals(c.set == nil || c.apart())
	// SIGKILL cannot be passed on, so Pdeathsig kills the command when this thread ends. The thread
	// is locked, and so lasts as long as this process. It is locked only here, because catching
	// signals takes twice as long on a locked thread.
	runtime.LockOSThread()
	if c.Pdeathsig == nil {
		c.Pdeathsig = os.Kill
	}
	if c.Stdin == nil {
		c.Stdin = os.Stdin
	}
	if c.Stdout == nil {
		c.Stdout = os.Stdout
	}
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	if err := c.Start(); err != nil {
		passing.stop()
		exitWith(startStatus(err), err)
	}
	passing.to(c.Process)
	for _, f := range started {
		if f != nil {
			f(c.Process.Pid)
		}
	}
	err := c.Wait()
	passing.stop()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		complain(err)
		if c.ProcessState == nil || c.ProcessState.Success() {
			os.Exit(125)
		}
	}
	endAs(c.ProcessState)
}

// startStatus is the status after an error of Start, as env(1) has it. Dir, Chroot, a cgroup and
// the namespaces may be missing or forbidden, too, and the caller must not take them for the
// program.
func startStatus(err error) int {
	file, isFile := errors.AsType[*fs.PathError](err)
	switch isFile = isFile && file.Op == "exec"; {
	case errors.Is(err, exec.ErrNotFound), isFile && errors.Is(file.Err, fs.ErrNotExist):
		return 127
	case isFile:
		return 126
	}
	return 125
}

func exitWith(code int, err error) {
	complain(err)
	os.Exit(code)
}

func complain(err error) { os.Stderr.WriteString(ownName() + ": " + err.Error() + "\n") }
