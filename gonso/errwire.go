package gonso

import (
	"errors"
	"fmt"
	"net"
	"reflect"
	"sync"

	"github.com/gonso/gonso/internal/errtree"
)

var errorsOnce sync.Once

// registerErrors registers gonso's own errors. It is called before a call, on both sides, and
// before a program registers errors of its own. Functions in workers may use gonso, and gonso's
// errors must cross as well.
func registerErrors() {
	registerNetErrors()
	for name, err := range sentinels {
		errtree.RegisterSentinel(name, err)
	}
	errtree.RegisterType("gonso.Error", encodeError, decodeError)
	errtree.RegisterType("gonso.PanicError", encodePanic, decodePanic)
}

// RegisterError makes errors.Is find err in errors of registered functions when
// it comes from a worker, as it does for the sentinels of the standard library:
//
//	var ErrBusy = errors.New("busy")
//
//	func init() { gonso.RegisterError("example.com/box.ErrBusy", ErrBusy) }
//
// Call it in an init function, so that the worker calls it, too. It panics if err is nil or of a
// type that cannot be compared, if name is empty or longer than 128 bytes, or if err or name is
// registered already.
func RegisterError(name string, err error) {
	errorsOnce.Do(registerErrors)
	errtree.RegisterSentinel(name, err)
}

// RegisterErrorType makes errors.As find errors of type T in errors of registered
// functions when they come from a worker, as it does for *fs.PathError:
//
//	type ExitError struct {
//		Tool string
//		Code int
//		Err  error
//	}
//
//	func init() { gonso.RegisterErrorType[*ExitError]() }
//
// T is the type in the call of errors.As, a pointer or not. Its exported fields cross, and the
// exported fields of structs that it embeds. Errors and slices of errors cross as errors, all other
// fields as results do. Unexported fields are zero. The text stays the same, and errors.Is and
// errors.As find the same errors behind it, even if an unexported field held them. A type that
// encodes itself (MarshalBinary and UnmarshalBinary) crosses in that encoding. If a method of T
// panics on the fields, the error has no known type, and keeps its text and its tree.
//
// The fields come from inside. In somebody else's Set, root there can make them up, within the size
// that all errors together may have. Methods of T must expect that.
//
// Call it in an init function, like [Register]. Another package may register the same type again.
// It panics if T is an interface, if all of its fields are unexported, or if a field cannot cross.
func RegisterErrorType[T error]() {
	errorsOnce.Do(registerErrors)
	t := reflect.TypeFor[T]()
	if err := errtree.RegisterGoType(t); err != nil {
		panic("gonso: RegisterErrorType of " + t.String() + ": " + err.Error())
	}
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

// encodePanic keeps the value if it is an error or a string, as for a panic on a thread.
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

// The errors of functions that use package net. [Set.Dialer] needs them, too, when the worker
// resolves names.
func registerNetErrors() {
	errtree.RegisterSentinel("net.ErrClosed", net.ErrClosed)
	errtree.RegisterSentinel("net.ErrWriteToConnected", net.ErrWriteToConnected)
	errtree.RegisterType("net.DNSError", encodeDNSError, decodeDNSError)
	errtree.RegisterType("net.OpError", encodeOpError, decodeOpError)
}

type dnsFields struct {
	Err, Name, Server              string
	Timeout, Temporary, IsNotFound bool
}

func encodeDNSError(e *net.DNSError) (dnsFields, []error) {
	return dnsFields{e.Err, e.Name, e.Server, e.IsTimeout, e.IsTemporary, e.IsNotFound}, []error{e.UnwrapErr}
}

func decodeDNSError(f dnsFields, wrapped []error) (*net.DNSError, error) {
	e := &net.DNSError{Err: f.Err, Name: f.Name, Server: f.Server, IsTimeout: f.Timeout, IsTemporary: f.Temporary, IsNotFound: f.IsNotFound}
	if len(wrapped) > 0 {
		e.UnwrapErr = wrapped[0]
	}
	return e, nil
}

type opFields struct {
	Op, Net      string
	Source, Addr *errorAddr
}

// errorAddr is an address as it comes over the wire.
type errorAddr struct{ Net, Text string }

func (a *errorAddr) Network() string { return a.Net }
func (a *errorAddr) String() string  { return a.Text }

func encodeOpError(e *net.OpError) (opFields, []error) {
	text := func(a net.Addr) *errorAddr {
		if a == nil {
			return nil
		}
		return &errorAddr{a.Network(), a.String()}
	}
	return opFields{e.Op, e.Net, text(e.Source), text(e.Addr)}, []error{e.Err}
}

func decodeOpError(f opFields, wrapped []error) (*net.OpError, error) {
	if len(wrapped) != 1 || wrapped[0] == nil {
		return nil, errors.New("a net.OpError without its cause") // its methods would panic
	}
	e := &net.OpError{Op: f.Op, Net: f.Net, Err: wrapped[0]}
	if f.Source != nil { // a nil pointer would make an interface that is not nil
		e.Source = f.Source
	}
	if f.Addr != nil {
		e.Addr = f.Addr
	}
	return e, nil
}
