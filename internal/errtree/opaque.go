package errtree

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/gonso/gonso/internal/codec"
)

// opaque stands for an error whose type is not registered: its text, its type's name, and which
// sentinels it matches without wrapping them. It cannot hold children. opaqueOne and opaqueMany
// can: a type has only one Unwrap method.
type opaque struct {
	text    string
	typ     string
	matches []error
}

type opaqueOne struct {
	opaque
	wrapped error
}

type opaqueMany struct {
	opaque
	wrapped []error
}

func (e *opaque) Error() string { return e.text }

func (e *opaque) Is(target error) bool {
	return target != nil && reflect.TypeOf(target).Comparable() && slices.Contains(e.matches, target)
}

func (e *opaque) original() (string, error) { return e.typ, nil }

func (e *opaqueOne) Unwrap() error { return e.wrapped }

func (e *opaqueMany) Unwrap() []error { return e.wrapped }

// TypeName returns the name of err's Go type, such as "*net.OpError". It does so, too, for an error
// that has crossed and now has a type of this package.
func TypeName(err error) string {
	r, ok := err.(rebuilt)
	if !ok {
		return fmt.Sprintf("%T", err)
	}
	name, original := r.original()
	if original == nil {
		return name
	}
	return TypeName(original)
}

// rebuilt is an error of a type of this package. It stands for another one: original is its type's
// name, or the error itself if there is one of its type.
type rebuilt interface {
	error
	Is(error) bool
	original() (typ string, err error)
}

// originalOf returns the error that err stands for, or nil.
func originalOf(err error) (original error) {
	if r, ok := err.(rebuilt); ok {
		_, original = r.original()
	}
	return original
}

// texted is a rebuilt error whose own text would differ from the original's, for example because a
// text within it was cut.
type texted struct {
	text string
	err  error
}

func (e *texted) Error() string             { return e.text }
func (e *texted) Unwrap() error             { return e.err }
func (e *texted) Is(error) bool             { return false } // what it wraps is asked next
func (e *texted) original() (string, error) { return "", e.err }

// withText gives err a text that it does not have itself.
func withText(err error, text string) error {
	if a, ok := err.(*accompanied); ok {
		return &accompanied{texted{text, a.err}, a.beside}
	}
	return &texted{text, err}
}

// safeText is err.Error() of an error of any kind. ok is false if the method panicked.
func safeText(err error) (text string, ok bool) {
	defer func() {
		if r := recover(); r != nil {
			text, ok = fmt.Sprintf("(%T, whose Error method panicked: %s)", err, codec.Sprint(r)), false
		}
	}()
	return err.Error(), true
}
