package gonso

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gonso/gonso/reexec"
)

// Error is what the kernel, or gonso before it came to that, refused to do.
// errors.Is sees through it: errors.Is(err, unix.EPERM).
type Error struct {
	Op   string // what was asked: "unshare", "setns", "open", ...
	Type Type   // the namespace types it was about, or 0
	Path string // the file it was about, or ""
	Err  error  // why
	Hint string // a likely cause, from evidence gathered after the failure, or ""
}

// Error says what was refused, about what, why, and the hint in brackets.
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
		b.WriteString(e.Err.Error())
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

// PanicError carries a panic from where it happened to where it was asked for.
// [Set.Do] and [Set.Run] panic with it on the caller's goroutine; [Func.Do]
// returns it as an error, on both backends, because a process inside somebody
// else's namespaces must not be able to make its parent panic.
type PanicError struct {
	// Value is what was passed to panic. After a registered function it is an
	// error if that was one, else its text.
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

// launchError makes the public error of what package reexec reports.
func launchError(types Type, err error) error {
	var le *reexec.LaunchError
	if errors.As(err, &le) {
		t := Type(le.Type)
		if t == 0 {
			t = types
		}
		err := refused(le.Op, t, le.Err)
		var e *Error
		if le.Path != "" && errors.As(err, &e) {
			e.Path = le.Path
		}
		return err
	}
	return &Error{Op: "launch", Type: types, Err: err}
}

// Errors to be tested for with errors.Is.
var (
	// ErrNeedsProcess says that no thread of a Go program can do this. Register the
	// function and call it with Func.Do.
	ErrNeedsProcess = errors.New("no thread of a Go program can enter it")

	// ErrNotInitialized says that the program that was started as a worker did not call
	// [Init] first in main (or TestMain), or, as a helper ([Worker].Path), at all.
	ErrNotInitialized = reexec.ErrNotInitialized

	// ErrNotNamespace says that a file is not a namespace file.
	ErrNotNamespace = errors.New("not a namespace file")

	// ErrGoexit says that the function ended its goroutine with runtime.Goexit, as
	// t.FailNow and t.SkipNow do.
	ErrGoexit = errors.New("gonso: function called runtime.Goexit")

	// ErrClosed says that the Set, or the Pool, was closed before.
	ErrClosed = errors.New("the Set is closed")

	// ErrNotRegistered says that the worker knows no function of that name. Both sides
	// are the same program, so a Register is not reached in the worker: it
	// belongs in a package-level variable or an init function.
	ErrNotRegistered = errors.New("the worker knows no function of that name")

	// ErrWorkerDied says that the process that ran the function ended before it
	// answered: the function may have run, or not. A call that had to end because of
	// another in the same worker says so, and may be retried.
	ErrWorkerDied = reexec.ErrWorkerDied
)
