package gonso

import (
	"fmt"

	"github.com/gonso/gonso/reexec/wire"
)

// Functions run in workers use gonso too, and its errors come home like others.
func init() {
	for name, err := range map[string]error{
		"gonso.ErrNeedsProcess":   ErrNeedsProcess,
		"gonso.ErrNotInitialized": ErrNotInitialized,
		"gonso.ErrNotNamespace":   ErrNotNamespace,
		"gonso.ErrGoexit":         ErrGoexit,
		"gonso.ErrClosed":         ErrClosed,
		"gonso.ErrNotRegistered":  ErrNotRegistered,
		"gonso.ErrWorkerDied":     ErrWorkerDied,
	} {
		wire.RegisterSentinel(name, err)
	}
	wire.RegisterErrorType("gonso.Error", encodeError, decodeError)
	wire.RegisterErrorType("gonso.PanicError", encodePanic, decodePanic)
}

type errorFields struct {
	Op   string
	Type uint32
	Path string
	Hint string
}

func encodeError(e *Error) (errorFields, []error) {
	return errorFields{e.Op, uint32(e.Type), e.Path, e.Hint}, []error{e.Err}
}

func decodeError(f errorFields, wrapped []error) (*Error, error) {
	e := &Error{Op: f.Op, Type: Type(f.Type), Path: f.Path, Hint: f.Hint}
	if len(wrapped) > 0 {
		e.Err = wrapped[0]
	}
	return e, nil
}

type panicFields struct {
	Text  string
	Stack []byte
}

// encodePanic keeps the value if it is an error or a string, as a call's own
// panic does.
func encodePanic(e *PanicError) (panicFields, []error) {
	f := panicFields{Stack: e.Stack}
	if err, ok := e.Value.(error); ok {
		return f, []error{err}
	}
	f.Text = fmt.Sprint(e.Value)
	return f, nil
}

func decodePanic(f panicFields, wrapped []error) (*PanicError, error) {
	if len(wrapped) > 0 {
		return &PanicError{Value: wrapped[0], Stack: f.Stack}, nil
	}
	return &PanicError{Value: f.Text, Stack: f.Stack}, nil
}
