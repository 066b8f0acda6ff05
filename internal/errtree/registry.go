package errtree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"sync"

	"github.com/gonso/gonso/internal/codec"
)

// maxErrorName bounds the names of registered errors.
const maxErrorName = 128

// registry has the errors that keep their value or type when they cross. It is filled from package
// initialisation on, like the registries of image formats or SQL drivers. It is the same in parent
// and worker, because they are the same binary.
var registry struct {
	sync.RWMutex
	sentinels map[string]error
	names     map[error]string
	types     map[string]*errorType
	byType    map[reflect.Type]*errorType
}

// settle registers the errors of the standard library and this module's own, when somebody first
// registers or looks up an error: most programs do neither. Package init must not do this:
// everything that it refers to is linked into every program.
func settle() { standard.Do(registerStandard) }

var standard sync.Once

// An errorType is the codec of one Go type, without type parameters.
type errorType struct {
	name   string
	encode func(error) (fields []byte, wrapped []error, err error)
	// decode takes the memory for fields out of room. errRoom says that there is not enough.
	decode func(fields []byte, wrapped []error, room *int64) (error, error)

	// goType is set for a type whose methods nobody has checked (see RegisterGoType). If an error
	// of it cannot be rebuilt, it becomes an error of no known type. This is no violation.
	goType string
}

// maxDecoded is the memory that the fields of all errors in a tree may take.
const maxDecoded = 4 << 20

var errRoom = errors.New("no room for its fields")

// RegisterSentinel makes err, which is compared by identity, the same value on both sides. The name
// is what crosses; it should start with the package's import path. It panics if name or err are
// empty, name is longer than 128 bytes, either is registered already, or err cannot be compared.
// Call it from init.
func RegisterSentinel(name string, err error) {
	settle()
	registerSentinel(name, err)
}

func registerSentinel(name string, err error) {
	registry.Lock()
	defer registry.Unlock()
	switch {
	case name == "" || len(name) > maxErrorName || err == nil:
		panic("gonso: RegisterSentinel without name or error")
	case !reflect.ValueOf(err).Comparable():
		panic("gonso: RegisterSentinel of an error that cannot be compared: " + name)
	case registry.sentinels[name] != nil:
		panic("gonso: RegisterSentinel called twice for " + name)
	case registry.names[err] != "":
		panic("gonso: " + name + " is registered already as " + registry.names[err])
	}
	registry.sentinels[name] = err
	registry.names[err] = name
}

// RegisterType makes errors of type T come back as values of type T. encode splits one into fields,
// which are encoded by [codec.Marshal] as type F, and the errors that it wraps; decode puts them
// together. The wrapped errors arrive in the same number and order, nil ones as nil. Both may get
// hostile or damaged input, decode above all: it returns an error where it cannot make a value all
// of whose methods work. (One whose Error method panics is refused in any case.)
//
// It panics if name is empty or taken, T is an interface, or T is registered already. Call it from
// init.
func RegisterType[T error, F any](name string, encode func(T) (F, []error), decode func(F, []error) (T, error)) {
	if err := codec.CheckType(reflect.TypeFor[F]()); err != nil {
		panic("gonso: RegisterType " + name + ": " + err.Error())
	}
	settle()
	registerType(name, encode, decode)
}

// registerType does not check F: that would take time in every program that imports this package.
func registerType[T error, F any](name string, encode func(T) (F, []error), decode func(F, []error) (T, error)) {
	t := reflect.TypeFor[T]()
	registry.Lock()
	defer registry.Unlock()
	switch {
	case name == "" || len(name) > maxErrorName || encode == nil || decode == nil:
		panic("gonso: RegisterType without name or functions")
	case t.Kind() == reflect.Interface:
		panic("gonso: RegisterType of an interface: " + t.String())
	case registry.types[name] != nil:
		panic("gonso: RegisterType called twice for " + name)
	case registry.byType[t] != nil:
		panic("gonso: " + t.String() + " is registered already as " + registry.byType[t].name)
	}
	et := &errorType{
		name: name,
		encode: func(err error) ([]byte, []error, error) {
			fields, wrapped := encode(err.(T))
			b, marshalErr := codec.Marshal(fields)
			return b, wrapped, marshalErr
		},
		decode: func(b []byte, wrapped []error, room *int64) (error, error) {
			var fields F
			left, err := codec.UnmarshalWithin(b, &fields, *room)
			if *room = left; err != nil && left <= 0 {
				return nil, errRoom
			}
			if err != nil {
				return nil, err
			}
			return decode(fields, wrapped)
		},
	}
	registry.types[name] = et
	registry.byType[t] = et
}

// sentinelName gives the name of a registered sentinel, "" for other errors.
func sentinelName(err error) string {
	if !reflect.ValueOf(err).Comparable() {
		return ""
	}
	settle()
	registry.RLock()
	defer registry.RUnlock()
	return registry.names[err]
}

func sentinel(name string) error {
	settle()
	registry.RLock()
	defer registry.RUnlock()
	return registry.sentinels[name]
}

func typeOfError(err error) *errorType {
	settle()
	registry.RLock()
	defer registry.RUnlock()
	return registry.byType[reflect.TypeOf(err)]
}

func typeNamed(name string) *errorType {
	settle()
	registry.RLock()
	defer registry.RUnlock()
	return registry.types[name]
}

// matching gives the names of the sentinels for which is returns true.
func matching(is func(error) bool) (names []string) {
	settle()
	registry.RLock()
	all := make(map[string]error, len(registry.sentinels))
	for name, err := range registry.sentinels {
		all[name] = err
	}
	registry.RUnlock() // is may call this package
	for name, err := range all {
		if is(err) {
			names = append(names, name)
		}
	}
	return names
}

func registerStandard() {
	registry.sentinels, registry.names = make(map[string]error), make(map[error]string)
	registry.types, registry.byType = make(map[string]*errorType), make(map[reflect.Type]*errorType)
	for _, s := range [...]struct {
		name string
		err  error
	}{
		{"io.EOF", io.EOF},
		{"io.ErrClosedPipe", io.ErrClosedPipe},
		{"io.ErrNoProgress", io.ErrNoProgress},
		{"io.ErrShortBuffer", io.ErrShortBuffer},
		{"io.ErrShortWrite", io.ErrShortWrite},
		{"io.ErrUnexpectedEOF", io.ErrUnexpectedEOF},
		{"io/fs.ErrClosed", fs.ErrClosed},
		{"io/fs.ErrExist", fs.ErrExist},
		{"io/fs.ErrInvalid", fs.ErrInvalid},
		{"io/fs.ErrNotExist", fs.ErrNotExist},
		{"io/fs.ErrPermission", fs.ErrPermission},
		{"io/fs.SkipAll", fs.SkipAll},
		{"io/fs.SkipDir", fs.SkipDir},
		{"os.ErrDeadlineExceeded", os.ErrDeadlineExceeded},
		{"os.ErrNoDeadline", os.ErrNoDeadline},
		{"os.ErrNoHandle", os.ErrNoHandle},
		{"os.ErrProcessDone", os.ErrProcessDone},
		{"context.Canceled", context.Canceled},
		{"context.DeadlineExceeded", context.DeadlineExceeded},
		{"errors.ErrUnsupported", errors.ErrUnsupported},
		{"errtree.ErrMalformed", ErrMalformed},
		{"codec.ErrTooLarge", codec.ErrTooLarge},
		{"codec.ErrValue", codec.ErrValue},
	} {
		registerSentinel(s.name, s.err)
	}

	type opPath struct{ Op, Path string }
	registerType("io/fs.PathError",
		func(e *fs.PathError) (opPath, []error) { return opPath{e.Op, e.Path}, []error{e.Err} },
		func(f opPath, w []error) (*fs.PathError, error) {
			err, bad := wrappedOne(w)
			return &fs.PathError{Op: f.Op, Path: f.Path, Err: err}, bad
		})
	type link struct{ Op, Old, New string }
	registerType("os.LinkError",
		func(e *os.LinkError) (link, []error) { return link{e.Op, e.Old, e.New}, []error{e.Err} },
		func(f link, w []error) (*os.LinkError, error) {
			err, bad := wrappedOne(w)
			return &os.LinkError{Op: f.Op, Old: f.Old, New: f.New, Err: err}, bad
		})
	registerType("os.SyscallError",
		func(e *os.SyscallError) (string, []error) { return e.Syscall, []error{e.Err} },
		func(call string, w []error) (*os.SyscallError, error) {
			err, bad := wrappedOne(w)
			return &os.SyscallError{Syscall: call, Err: err}, bad
		})
	registerType("codec.ValueError",
		func(e *codec.ValueError) (codec.ValueError, []error) {
			f := *e
			f.Errno = nil
			if e.Errno == nil {
				return f, nil
			}
			return f, []error{e.Errno}
		},
		func(f codec.ValueError, w []error) (*codec.ValueError, error) {
			if len(w) == 0 {
				return &f, nil
			}
			var bad error
			f.Errno, bad = wrappedOne(w)
			return &f, bad
		})
	registerType("codec.SizeError",
		func(e *codec.SizeError) (codec.SizeError, []error) { return *e, nil },
		func(f codec.SizeError, _ []error) (*codec.SizeError, error) { return &f, nil })
}

// wrappedOne is for types that wrap exactly one error, and that panic without it.
func wrappedOne(w []error) (error, error) {
	if len(w) != 1 || w[0] == nil {
		return nil, fmt.Errorf("wraps %d errors instead of 1", len(w))
	}
	return w[0], nil
}
