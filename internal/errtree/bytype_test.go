//go:build !plan9

package errtree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gonso/gonso/internal/codec"
)

type base struct{ Step int }

type goErr struct {
	base
	Tool  string
	At    time.Time
	Args  []string
	Err   error
	All   []error
	No    syscall.Errno
	Path  *fs.PathError
	Other *goErr
	Skip  func() `json:"-"`

	cause error // does not cross as a field
}

func (e *goErr) Error() string {
	return fmt.Sprint(e.Step, e.Tool, e.Args, e.Err, e.All, e.No, e.Path != nil, e.Other != nil)
}
func (e *goErr) Unwrap() []error { return append([]error{e.Err, e.cause}, e.All...) }

type goCode int

func (c goCode) Error() string        { return fmt.Sprint("code ", int(c)) }
func (c goCode) Is(target error) bool { return c == 2 && target == fs.ErrNotExist }

type goList []error

func (l goList) Error() string   { return fmt.Sprint(len(l), " errors") }
func (l goList) Unwrap() []error { return l }

type goConst struct{ Why string }

func (e goConst) Error() string { return e.Why }
func (goConst) Unwrap() error   { return errMine }

type goHalf struct {
	Name string
	rest *goHalf
}

func (e *goHalf) Error() string { return e.Name + e.rest.Name }

type goUnwrapPanics struct {
	Name string
	rest *goHalf
}

func (e *goUnwrapPanics) Error() string { return e.Name }
func (e *goUnwrapPanics) Unwrap() error { return e.rest.rest }

type goMarshals struct{ secret string }

func (e *goMarshals) Error() string                  { return e.secret }
func (e *goMarshals) MarshalBinary() ([]byte, error) { return []byte(e.secret), nil }
func (e *goMarshals) UnmarshalBinary(b []byte) error { e.secret = string(b); return nil }

type goText struct {
	Name string
	rest string
}

func (e *goText) Error() string { return e.Name + e.rest }

type goGeneric[T any] struct{ V T }

func (e goGeneric[T]) Error() string { return fmt.Sprint(e.V) }

func init() {
	for _, t := range []reflect.Type{
		reflect.TypeFor[*goErr](), reflect.TypeFor[goCode](), reflect.TypeFor[goList](), reflect.TypeFor[goConst](), reflect.TypeFor[*goHalf](),
		reflect.TypeFor[*goUnwrapPanics](), reflect.TypeFor[*goMarshals](), reflect.TypeFor[*goText](),
		reflect.TypeFor[goGeneric[map[string]int]](), reflect.TypeFor[goGeneric[struct {
			LongNameOfAField, AnotherLongNameOfAField, YetAnotherLongNameOfAField, AndTheLastLongNameOfAField int
		}]](),
		reflect.TypeFor[*goErr](), reflect.TypeFor[syscall.Errno](), reflect.TypeFor[*fs.PathError](), // again, and known ones
	} {
		if err := RegisterGoType(t); err != nil {
			panic(err)
		}
	}
}

func TestErrorsOfGoTypesCross(t *testing.T) {
	path := &fs.PathError{Op: "open", Path: "/p", Err: syscall.EACCES}
	long := goGeneric[struct {
		LongNameOfAField, AnotherLongNameOfAField, YetAnotherLongNameOfAField, AndTheLastLongNameOfAField int
	}]{}
	long.V.LongNameOfAField = 3
	full := &goErr{base: base{1}, Tool: "t", At: time.Unix(5, 6).UTC(), Args: []string{"a", notUTF8}, Err: errMine,
		All: []error{io.EOF, nil, goCode(1)}, No: syscall.EPERM, Path: path, Other: &goErr{Tool: "inner", Err: io.ErrNoProgress}}
	for name, err := range map[string]error{
		"all fields": full, "zero": &goErr{}, "code": goCode(7), "list": goList{io.EOF, path}, "no list": goList(nil), "constant": goConst{"why"},
		"encodes itself": &goMarshals{"secret"}, "generic": goGeneric[map[string]int]{map[string]int{"a": 1}}, "long name": long,
	} {
		got := cross(t, err)
		for range 2 {
			if !reflect.DeepEqual(got, err) {
				t.Errorf("%s: %#v became %#v", name, err, got)
			}
			got = cross(t, got)
		}
	}
	if got := cross(t, fmt.Errorf("deep: %w", errors.Join(syscall.EACCES, full))); !errors.Is(got, fs.ErrPermission) || !errors.Is(got, io.EOF) {
		t.Error(got)
	} else if e, ok := errors.AsType[*goErr](got); !ok || e.Step != 1 || e.Other.Tool != "inner" {
		t.Errorf("%+v", e)
	}
}

// Registering a type makes nothing worse: text, type, and what is found behind it are the same
// where parts of it do not cross.
func TestRegisteredTypeCannotLoseItsTree(t *testing.T) {
	lost := errors.New("lost and found")
	for name, tt := range map[string]struct {
		err   error
		is    []error
		known bool // errors.As finds it
	}{
		"unexported cause":      {&goErr{Tool: "t", cause: fmt.Errorf("%w", syscall.ENOSPC), Err: io.EOF}, []error{syscall.ENOSPC, io.EOF}, true},
		"text not from fields":  {&goText{"a", "b"}, nil, true},
		"Error would panic":     {&goHalf{"a", &goHalf{Name: "b"}}, nil, false},
		"Unwrap would panic":    {&goUnwrapPanics{"a", &goHalf{rest: &goHalf{Name: "a", rest: &goHalf{}}}}, nil, false},
		"Is":                    {goCode(2), []error{fs.ErrNotExist}, true},
		"of no registered type": {&goErr{Err: lost, All: []error{&customErr{1, io.EOF}}}, []error{io.EOF}, true},
	} {
		got := cross(t, tt.err)
		for range 2 {
			if got.Error() != tt.err.Error() || TypeName(got) != fmt.Sprintf("%T", tt.err) {
				t.Errorf("%s: %v (%s) became %v (%s)", name, tt.err, TypeName(tt.err), got, TypeName(got))
			}
			for _, is := range tt.is {
				if !errors.Is(got, is) || !errors.Is(tt.err, is) {
					t.Errorf("%s: is not %v any more", name, is)
				}
			}
			as := reflect.New(reflect.TypeOf(tt.err))
			if errors.As(got, as.Interface()) != tt.known {
				t.Errorf("%s: errors.As does not say %v of %#v", name, tt.known, got)
			}
			got = cross(t, got)
		}
	}
}

// What a hostile worker sends for such a type is an error without it, or malformed: never a panic,
// never more memory than all errors may take.
func TestHostileErrorOfAGoType(t *testing.T) {
	typed := func(typ reflect.Type, fields []byte, text string, children ...byte) []byte {
		b := codec.AppendString([]byte{nodeTyped}, nameOf(typ))
		b = codec.AppendString(b, fields)
		b = append(codec.AppendString(b, text), 0)
		b = binary.AppendUvarint(b, uint64(len(children)))
		return append(b, children...)
	}
	full := reflect.TypeFor[*goErr]()
	for name, b := range map[string][]byte{
		"no fields":         typed(full, nil, "text"),
		"not the fields":    typed(full, []byte{0, 0x60}, "text", nodeNil, nodeNil, nodeNil, nodeNil),
		"too many errors":   typed(full, []byte{200, 0xa0}, "text", nodeNil, nodeNil, nodeNil, nodeNil),
		"too few children":  typed(full, []byte{1, 0xa0}, "text", nodeNil),
		"endless number":    typed(full, []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), "text", nodeNil),
		"behind a list":     typed(reflect.TypeFor[goList](), []byte{1, 1}, "text"),
		"fields that panic": typed(reflect.TypeFor[*goHalf](), []byte{0xa0}, "text"),
	} {
		got, malformed := Unmarshal(b)
		if malformed != nil || got.Error() != "text" {
			t.Errorf("%s: %v, %v", name, got, malformed)
		}
		if e, ok := errors.AsType[*goErr](got); ok {
			t.Errorf("%s: %+v", name, e)
		}
	}
	// As many as a tree may have, each with as many fields as it may.
	args, err := codec.Marshal(&struct{ V []string }{slices.Repeat([]string{""}, 60<<10)})
	if err != nil {
		t.Fatal(err)
	}
	args = append([]byte{1}, []byte(strings.Replace(string(args), "\x61V", "\x62V3", 1))...) // of Args
	one := typed(full, args, "text", nodeNil, nodeNil, nodeNil, nodeNil)
	many := codec.AppendString([]byte{nodeMany}, "type")
	many = append(codec.AppendString(many, "text"), 0, 0)
	const n = 15
	many = append(binary.AppendUvarint(many, n), []byte(strings.Repeat(string(one), n))...)
	got, malformed := Unmarshal(many)
	if malformed != nil {
		t.Fatal(malformed)
	}
	known := 0
	for _, err := range got.(interface{ Unwrap() []error }).Unwrap() {
		if e, ok := errors.AsType[*goErr](err); ok && len(e.Args) == 60<<10 {
			known++
		}
	}
	if known == 0 || known > 8 {
		t.Errorf("%d errors of %d have their fields, which take a megabyte each", known, n)
	}
}

type (
	goInterface interface{ error }
	goClosed    struct{ a int }
	goEmbeds    struct{ error }
	goFile      struct{ F *os.File }
	goFunc      struct{ F func() }
)

func (goClosed) Error() string { return "" }
func (goFile) Error() string   { return "" }
func (goFunc) Error() string   { return "" }

func TestTypesThatCannotBeRegistered(t *testing.T) {
	for typ, want := range map[reflect.Type]string{
		nil:                               "interface",
		reflect.TypeFor[goInterface]():    "interface",
		reflect.TypeFor[goClosed]():       "no exported field",
		reflect.TypeFor[goEmbeds]():       "no exported field",
		reflect.TypeFor[*goFunc]():        "field F: cannot encode func()",
		reflect.TypeFor[goFile]():         "field F: files",
		reflect.TypeFor[chanErr]():        "chan",
		reflect.TypeFor[goGeneric[any]](): "",
	} {
		err := RegisterGoType(typ)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", typ, err)
		}
	}
}

type chanErr chan int

func (chanErr) Error() string { return "" }
