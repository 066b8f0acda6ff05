package wire

import (
	"fmt"
	"reflect"
	"slices"
	"unicode/utf8"
)

// opaque stands for an error whose type is not registered: its text, its type's name, and which sentinels it matches
// without wrapping them. It cannot hold children; opaqueOne and opaqueMany do, as Unwrap has one signature in a type.
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

func (e *opaque) self() *opaque { return e }

func (e *opaqueOne) Unwrap() error { return e.wrapped }

func (e *opaqueMany) Unwrap() []error { return e.wrapped }

// ErrorType gives the name of err's Go type, like "*net.OpError", also for an error that has crossed and is now of a type
// of this package.
func ErrorType(err error) string {
	switch e := err.(type) {
	case interface{ self() *opaque }:
		return e.self().typ
	case *texted:
		return ErrorType(e.err)
	}
	return fmt.Sprintf("%T", err)
}

// texted is an error that was rebuilt but would not say what the original said, as when a text within was cut.
type texted struct {
	text string
	err  error
}

func (e *texted) Error() string { return e.text }
func (e *texted) Unwrap() error { return e.err }

// safeText is err.Error() of an error that may be anything. ok is false if the method panicked.
func safeText(err error) (text string, ok bool) {
	defer func() {
		if r := recover(); r != nil {
			text, ok = fmt.Sprintf("(%T, whose Error method panicked: %s)", err, safeSprint(r)), false
		}
	}()
	return err.Error(), true
}

// safeSprint is fmt.Sprint of a value that may be anything: fmt survives methods that panic, but not data in a cycle.
func safeSprint(v any) (text string) {
	defer func() {
		if recover() != nil {
			text = fmt.Sprintf("(%T)", v)
		}
	}()
	switch v.(type) {
	case error, fmt.Stringer, fmt.Formatter:
	default:
		if v != nil && !printable(reflect.ValueOf(v), 0, new(int)) {
			return fmt.Sprintf("(%T)", v)
		}
	}
	return fmt.Sprint(v)
}

// printable reports whether fmt comes to an end with v soon. Pointers below the top are printed as numbers.
func printable(v reflect.Value, depth int, seen *int) bool {
	if *seen++; *seen > 1<<16 || depth > 64 {
		return false
	}
	switch v.Kind() {
	case reflect.Interface:
		return printable(v.Elem(), depth+1, seen)
	case reflect.Pointer:
		return depth > 0 || printable(v.Elem(), depth+1, seen)
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() <= reflect.Complex128 {
			return true
		}
		for i := range v.Len() {
			if !printable(v.Index(i), depth+1, seen) {
				return false
			}
		}
	case reflect.Map:
		for it := v.MapRange(); it.Next(); {
			if !printable(it.Key(), depth+1, seen) || !printable(it.Value(), depth+1, seen) {
				return false
			}
		}
	case reflect.Struct:
		for _, f := range v.Fields() {
			if !printable(f, depth+1, seen) {
				return false
			}
		}
	}
	return true
}

// cut shortens s to at most limit bytes, and says so.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	note := fmt.Sprintf("... (%d bytes in all)", len(s))
	keep := max(limit-len(note), 0)
	for keep > 0 && len(s)-keep < utf8.UTFMax && !utf8.RuneStart(s[keep]) {
		keep--
	}
	return s[:keep] + note
}
