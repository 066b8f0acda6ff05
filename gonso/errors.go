package gonso

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/nsfs"
	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/reexec"
)

// Error is a refusal by the kernel, or by gonso in advance. errors.Is sees through it:
// errors.Is(err, unix.EPERM).
type Error struct {
	Op   string // what was asked: "unshare", "setns", "open", ...
	Type Type   // the namespace types it was about, or 0
	Path string // the file it was about, or ""
	Err  error  // why
	Hint string // a likely cause, from evidence gathered after the failure, or ""
}

// Error says which operation was refused, on which types or path, and why. The hint is in brackets.
// The text begins with "gonso: ", and Err does not repeat that.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("gonso: ")
	b.WriteString(e.Op)
	if e.Type != 0 {
		b.WriteByte(' ')
		b.WriteString(e.Type.String())
	}
	if e.Path != "" {
		b.WriteByte(' ')
		b.WriteString(e.Path)
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(reexec.Clause(e.Err))
	}
	if e.Hint != "" {
		b.WriteString(" (")
		b.WriteString(e.Hint)
		b.WriteByte(')')
	}
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// PanicError carries a panic of the work to the caller. [Set.Do] and [Set.Run] panic with it on the
// caller's goroutine. [Func.Do] returns it as an error on both backends: a process in somebody
// else's namespaces must not make its parent panic.
type PanicError struct {
	// Value is the argument of panic. From a registered function it is an error if the argument was
	// an error, and its text otherwise.
	Value any
	// Stack is the stack of the goroutine that panicked, as debug.Stack gives it.
	Stack []byte
}

// Error is the value and the stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("panic: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns the value of the panic if that is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// Errors to be tested for with errors.Is.
var (
	// ErrNeedsProcess says that no thread of a Go program can do this. Register the
	// function and call it with Func.Do.
	ErrNeedsProcess = errors.New("gonso: no thread of a Go program can enter it")

	// ErrNotInitialized says that this program has not called [Init] first in main (or TestMain),
	// so that no worker was started. Or a helper program ([Worker].Path) did not call it.
	ErrNotInitialized = reexec.ErrNotInitialized

	// ErrNotNamespace says that a file is not a namespace file.
	ErrNotNamespace = nsfs.ErrNotNamespace

	// ErrForeignProc says that the procfs on /proc belongs to another pid namespace. Ids of
	// processes mean other processes there, or no process. Mount a procfs of the program's own pid
	// namespace, as unshare(1) does with --mount-proc.
	ErrForeignProc = procfs.ErrForeign

	// ErrGoexit says that the function ended its goroutine with runtime.Goexit, as
	// t.FailNow and t.SkipNow do.
	ErrGoexit = errors.New("gonso: the function called runtime.Goexit")

	// ErrClosed says that the Set, or the Pool, was closed before.
	ErrClosed = errors.New("gonso: the Set is closed")

	// ErrNotRegistered says that the worker knows no function of that name. Both sides are the same
	// program, so the worker did not come to the call of Register. Call it for a package-level
	// variable or in an init function.
	ErrNotRegistered = errors.New("gonso: the worker knows no function of that name")

	// ErrWorkerDied says that the process of the function ended before it answered. The function
	// may have run or not. If the worker was killed because of another call, the error says so, and
	// the call can be retried.
	ErrWorkerDied = reexec.ErrWorkerDied

	// ErrNoSubIDs says that the user has no subordinate uids or gids, which [SubIDs]
	// needs.
	ErrNoSubIDs = errors.New("gonso: no subordinate ids")
)

// sentinels are the errors above, by their names on the wire.
var sentinels = map[string]error{
	"gonso.ErrNeedsProcess":   ErrNeedsProcess,
	"gonso.ErrNotInitialized": ErrNotInitialized,
	"gonso.ErrNotNamespace":   ErrNotNamespace,
	"gonso.ErrForeignProc":    ErrForeignProc,
	"gonso.ErrGoexit":         ErrGoexit,
	"gonso.ErrClosed":         ErrClosed,
	"gonso.ErrNotRegistered":  ErrNotRegistered,
	"gonso.ErrWorkerDied":     ErrWorkerDied,
	"gonso.ErrNoSubIDs":       ErrNoSubIDs,
}

// errNilSet is the error of every method of a nil Set.
var errNilSet = sys.Wrap("the Set is nil", os.ErrInvalid)

// newError makes every Error. It removes from err the parts that the Error says itself: the path,
// or the last element of the path if err is about a name in a directory.
func newError(op string, types Type, path string, err error) *Error {
	said := func(name string) bool { return name != "" && (name == path || strings.HasSuffix(path, "/"+name)) }
	switch e := err.(type) {
	case *fs.PathError:
		if said(e.Path) {
			err = e.Err
		}
	case *exec.Error:
		if said(e.Name) {
			err = e.Err
		}
	}
	return &Error{Op: op, Type: types, Path: path, Err: err, Hint: procHint(err)}
}

// withHint adds a hint if there is none.
func (e *Error) withHint(hint string) *Error {
	if hint != "" {
		e.Hint = hint
	}
	return e
}

// invalid is the error for a bad argument: its first word names the argument, the rest says what is
// wrong.
func invalid(op, what string) *Error {
	return newError(op, 0, "", fmt.Errorf("%s: %w", what, os.ErrInvalid))
}

// about puts the name of an option first in an error about it.
func about(option string, err error) error { return fmt.Errorf("%s: %w", option, err) }

// refused is the error for an operation that the kernel refused.
func refused(op string, types Type, err error) *Error {
	return refusedWith(op, types, err, func(*evidence) {})
}

// refusedWith is refused with evidence that the caller has gathered besides the system's.
func refusedWith(op string, types Type, err error, add func(*evidence)) *Error {
	hint, missing := findHint(op, types, err, add)
	if missing {
		err = missingTypeError{err}
	}
	return newError(op, types, "", err).withHint(hint)
}

// optionError puts an option's name first, because a step of a launch was refused for that option.
func optionError(le *reexec.LaunchError) error {
	if le.Path == "" {
		return about(le.Option, os.NewSyscallError(le.Op, le.Err))
	}
	op := le.Op
	if op == "openat2" || op == "fchdir" { // the calls in place of chdir, when links of procfs must not be followed
		op = "chdir"
	}
	return about(le.Option, &fs.PathError{Op: op, Path: le.Path, Err: le.Err})
}

// launchError makes the public error of an error of package reexec.
func launchError(types Type, err error) error {
	return launchErrorWith(types, err, func(*evidence) {})
}

// launchErrorWith is launchError with evidence that the caller has gathered besides the system's.
func launchErrorWith(types Type, err error, add func(*evidence)) error {
	var le *reexec.LaunchError
	if !errors.As(err, &le) {
		return newError("launch", types, "", err).withHint(launchHint(err))
	}
	switch {
	case le.Limit != nil:
		return limitError("start worker", le)
	case le.Option != "":
		return newError("launch", 0, "", optionError(le))
	case le.Type != 0:
		types = Type(le.Type)
	case le.Op == "execve" || le.Op == "execveat": // of a worker: about that file, and no type
		return newError("start worker", 0, "", &fs.PathError{Op: "exec", Path: le.Path, Err: le.Err})
	}
	if hint := launchHint(le.Err); hint != "" { // of clone and execve
		return newError(le.Op, types, le.Path, le.Err).withHint(hint)
	}
	e := refusedWith(le.Op, types, le.Err, func(ev *evidence) {
		ev.inside, ev.fresh = le.Inside, le.Fresh
		add(ev)
	})
	e.Path = le.Path
	return e
}

// workerError says what an error of the Set's worker means to the caller of op. name is the
// function's name, or "".
func (c *core) workerError(op, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, reexec.ErrWorkerClosed):
		return newError(op, 0, name, ErrClosed)
	case tooLarge(err):
		return newError(op, 0, name, err).withHint(resultHint(err))
	case errors.As(err, new(*Error)), err == context.Canceled, err == context.DeadlineExceeded:
		return err
	case errors.As(err, new(*reexec.LaunchError)) && !errors.Is(err, reexec.ErrWorkerDied):
		return launchErrorWith(c.types, err, func(ev *evidence) { c.addOwner(ev, err) })
	}
	return newError(op, 0, name, err).withHint(launchHint(err))
}

// tooLarge reports whether a result was too large to be received.
func tooLarge(err error) bool {
	size, ok := errors.AsType[*codec.SizeError](err)
	return ok && size.What == reexec.ResultTooLarge
}
