//go:build !plan9

package errtree

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gonso/gonso/internal/codec"
)

// cross sends err to the other side.
func cross(t *testing.T, err error) error {
	t.Helper()
	b := Marshal(err)
	if len(b) > MaxSize {
		t.Fatalf("%d bytes", len(b))
	}
	got, malformed := Unmarshal(b)
	if malformed != nil {
		t.Fatal(malformed)
	}
	return got
}

type customErr struct {
	Code int
	Err  error
}

func (e *customErr) Error() string { return fmt.Sprintf("code %d: %v", e.Code, e.Err) }
func (e *customErr) Unwrap() error { return e.Err }

type listErr struct {
	Errs []error
}

func (e listErr) Error() string   { return "list" } // a type that cannot be compared
func (e listErr) Unwrap() []error { return e.Errs }

type isErr struct{}

func (isErr) Error() string        { return "cannot find it" }
func (isErr) Is(target error) bool { return target == fs.ErrNotExist }

// notUTF8 is what a path may be.
const notUTF8 = "a\xff\xfe/\x00b\xc3"

var errMine = errors.New("mine")

func init() {
	RegisterSentinel("errtree_test.errMine", errMine)
	RegisterType("errtree_test.customErr",
		func(e *customErr) (int, []error) { return e.Code, []error{e.Err} },
		func(code int, w []error) (*customErr, error) {
			if len(w) != 1 {
				return nil, errors.New("one, please")
			}
			return &customErr{code, w[0]}, nil
		})
}

func TestErrorsCross(t *testing.T) {
	enoent := syscall.ENOENT
	path := &fs.PathError{Op: "open", Path: notUTF8, Err: enoent}
	for name, tt := range map[string]struct {
		err error
		is  []error
		not []error
	}{
		"nil":             {err: nil},
		"plain":           {err: errors.New("plain " + notUTF8), not: []error{io.EOF, syscall.EPERM}},
		"empty":           {err: errors.New("")},
		"errno":           {err: syscall.EPERM, is: []error{syscall.EPERM, fs.ErrPermission}, not: []error{syscall.EACCES}},
		"odd errno":       {err: syscall.Errno(54321), is: []error{syscall.Errno(54321)}},
		"wrapped":         {err: fmt.Errorf("while at it: %w", enoent), is: []error{enoent, fs.ErrNotExist}},
		"path":            {err: path, is: []error{enoent, fs.ErrNotExist}},
		"link":            {err: &os.LinkError{Op: "rename", Old: "a", New: "b", Err: syscall.EXDEV}, is: []error{syscall.EXDEV}},
		"syscall":         {err: os.NewSyscallError("setns", syscall.EINVAL), is: []error{syscall.EINVAL}},
		"two":             {err: fmt.Errorf("%w and %w", io.EOF, path), is: []error{io.EOF, enoent}},
		"join":            {err: errors.Join(context.Canceled, fmt.Errorf("x: %w", errors.Join(errMine, path))), is: []error{context.Canceled, errMine, enoent}},
		"deep":            {err: fmt.Errorf("a: %w", fmt.Errorf("b: %w", fmt.Errorf("c: %w", path))), is: []error{enoent}},
		"registered":      {err: &customErr{5, path}, is: []error{enoent}},
		"wraps nil":       {err: &customErr{5, nil}},
		"list":            {err: listErr{[]error{errMine, nil, io.EOF}}, is: []error{errMine, io.EOF}},
		"Is":              {err: fmt.Errorf("x: %w", isErr{}), is: []error{fs.ErrNotExist}, not: []error{fs.ErrExist}},
		"sentinels":       {err: errors.Join(fs.ErrClosed, os.ErrProcessDone, os.ErrDeadlineExceeded, os.ErrNoDeadline, context.DeadlineExceeded, errors.ErrUnsupported, io.ErrUnexpectedEOF), is: []error{os.ErrClosed, os.ErrProcessDone, os.ErrDeadlineExceeded, os.ErrNoDeadline, context.DeadlineExceeded, errors.ErrUnsupported, io.ErrUnexpectedEOF}},
		"value of a file": {err: &codec.ValueError{Op: "encode", Type: "*os.File", Errno: syscall.EMFILE}, is: []error{codec.ErrValue, syscall.EMFILE}},
		"value":           {err: &codec.ValueError{Op: "encode", Type: "chan int", Path: "X", Root: "T"}, is: []error{codec.ErrValue}},
		"size":            {err: &codec.SizeError{What: "value", Size: 5, Max: 4}, is: []error{codec.ErrTooLarge}},
		"no sentinel":     {err: errors.New("EOF"), not: []error{io.EOF}},
		"long":            {err: fmt.Errorf("%s: %w", strings.Repeat("x", MaxText-20), io.EOF), is: []error{io.EOF}},
		"bare uncompared": {err: listErr{}},
	} {
		t.Run(name, func(t *testing.T) {
			got := cross(t, tt.err)
			for range 2 { // and from a worker's worker
				if tt.err == nil {
					if got != nil {
						t.Error(got)
					}
					return
				}
				if got.Error() != tt.err.Error() {
					t.Errorf("text %.200q became %.200q", tt.err.Error(), got.Error())
				}
				if TypeName(got) != TypeName(tt.err) {
					t.Errorf("type %s became %s", TypeName(tt.err), TypeName(got))
				}
				for _, target := range tt.is {
					if !errors.Is(got, target) || !errors.Is(tt.err, target) {
						t.Errorf("is not %v any more", target)
					}
				}
				for _, target := range tt.not {
					if errors.Is(got, target) {
						t.Errorf("is %v now", target)
					}
				}
				got = cross(t, got)
			}
		})
	}
}

func TestErrorsAs(t *testing.T) {
	in := fmt.Errorf("x: %w", errors.Join(
		&customErr{7, &fs.PathError{Op: "open", Path: "/p", Err: syscall.EACCES}},
		&os.LinkError{Op: "link", Old: "a", New: "b", Err: syscall.EEXIST},
		os.NewSyscallError("clone", syscall.EAGAIN)))
	got := cross(t, in)
	if e, ok := errors.AsType[*customErr](got); !ok || e.Code != 7 {
		t.Errorf("customErr: %+v", e)
	}
	if e, ok := errors.AsType[*fs.PathError](got); !ok || *e != (fs.PathError{Op: "open", Path: "/p", Err: syscall.EACCES}) {
		t.Errorf("PathError: %+v", e)
	}
	if e, ok := errors.AsType[*os.LinkError](got); !ok || *e != (os.LinkError{Op: "link", Old: "a", New: "b", Err: syscall.EEXIST}) {
		t.Errorf("LinkError: %+v", e)
	}
	if e, ok := errors.AsType[*os.SyscallError](got); !ok || *e != (os.SyscallError{Syscall: "clone", Err: syscall.EAGAIN}) {
		t.Errorf("SyscallError: %+v", e)
	}
	if e, ok := errors.AsType[syscall.Errno](got); !ok || e != syscall.EACCES {
		t.Errorf("Errno: %v", e)
	}
}

type cyclic struct{ next error }

func (e *cyclic) Error() string { return "around" }
func (e *cyclic) Unwrap() error { return e.next }

type cyclicMany struct{ next []error }

func (e *cyclicMany) Error() string   { return "around and around" }
func (e *cyclicMany) Unwrap() []error { return e.next }

type badErr struct{ where string }

func (e *badErr) Error() string {
	if e.where == "Error" {
		panic("in Error")
	}
	return e.where
}

func (e *badErr) Unwrap() error {
	if e.where == "Unwrap" {
		panic("in Unwrap")
	}
	return nil
}

func (e *badErr) Is(error) bool {
	if e.where == "Is" {
		panic("in Is")
	}
	return false
}

// TestErrorsThatMisbehave: none may take the worker along, and as much as possible arrives.
func TestErrorsThatMisbehave(t *testing.T) {
	c := &cyclic{}
	c.next = c
	many := &cyclicMany{}
	many.next = slices.Repeat([]error{many}, 50)
	chain := error(io.EOF)
	for range 10 * MaxDepth {
		chain = fmt.Errorf("x: %w", chain)
	}
	var typedNil *fs.PathError
	for name, tt := range map[string]struct {
		err  error
		text string // "" is as before
	}{
		"cycle":              {c, ""},
		"cycle of many":      {many, ""},
		"long chain":         {chain, ""},
		"wide":               {errors.Join(slices.Repeat([]error{io.EOF}, 10*MaxNodes)...), ""},
		"wide in wide":       {errors.Join(slices.Repeat([]error{errors.Join(slices.Repeat([]error{chain}, 20)...)}, 20)...), ""},
		"Error panics":       {&badErr{"Error"}, "(*errtree.badErr, whose Error method panicked: in Error)"},
		"within":             {fmt.Errorf("x: %w", &badErr{"Error"}), ""},
		"Unwrap panics":      {&badErr{"Unwrap"}, ""},
		"Is panics":          {&badErr{"Is"}, ""},
		"nil within pointer": {typedNil, "(*fs.PathError, whose Error method panicked: runtime error: invalid memory address or nil pointer dereference)"},
		"PathError of nil":   {&fs.PathError{Op: "open"}, "(*fs.PathError, whose Error method panicked: runtime error: invalid memory address or nil pointer dereference)"},
		"huge fields":        {&fs.PathError{Op: "open", Path: strings.Repeat("p", 2*maxFields), Err: io.EOF}, "open " + strings.Repeat("p", 9) + "…"},
		"huge":               {errors.New(strings.Repeat("é", 2<<20)), "éé…(4194304 bytes in all)"},
		"many huge":          {errors.Join(slices.Repeat([]error{errors.New(strings.Repeat("x", 1<<16))}, 100)...), "x…(6553699 bytes in all)"},
	} {
		t.Run(name, func(t *testing.T) {
			got := cross(t, tt.err)
			text := tt.text
			if text == "" {
				text = tt.err.Error()
				if len(text) > MaxText {
					text = codec.Shorten(text, MaxText)
				}
			}
			if start, end, ok := strings.Cut(text, "…"); ok {
				if s := got.Error(); !strings.HasPrefix(s, start) || !strings.HasSuffix(s, end) || len(s) > MaxText {
					t.Errorf("text of %d bytes", len(s))
				}
			} else if got.Error() != text {
				t.Errorf("text %.200q, want %.200q", got.Error(), text)
			}
			cross(t, got)
		})
	}
}

func node(kind byte, parts ...any) []byte {
	b := []byte{kind}
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = codec.AppendString(b, p)
		case int:
			b = append(b, byte(p))
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func TestUnmarshalRefuses(t *testing.T) {
	fields, err := codec.Marshal(struct{ Op, Path string }{"open", "/p"})
	if err != nil {
		t.Fatal(err)
	}
	eof := node(nodeSentinel, "io.EOF")
	deep := []byte{nodeSentinel}
	for range MaxDepth + 2 {
		deep = node(nodeOne, "T", "text", 0, 0, deep)
	}
	for name, b := range map[string][]byte{
		"nothing":            {},
		"trailing":           append(slices.Clone(eof), 0),
		"unknown kind":       {99},
		"unknown sentinel":   node(nodeSentinel, "nobody.ErrNothing"),
		"unknown type":       node(nodeTyped, "nobody.Error", "", "text", 0, 0),
		"cut":                eof[:4],
		"PathError of nil":   node(nodeTyped, "io/fs.PathError", string(fields), "text", 0, 1, nodeNil),
		"PathError of none":  node(nodeTyped, "io/fs.PathError", string(fields), "text", 0, 0),
		"PathError of two":   node(nodeTyped, "io/fs.PathError", string(fields), "text", 0, 2, eof, eof),
		"PathError's fields": node(nodeTyped, "io/fs.PathError", "\x01", "text", 0, 1, eof),
		"wraps nil":          node(nodeOne, "T", "text", 0, 0, nodeNil),
		"wraps nil too":      node(nodeMany, "T", "text", 0, 0, 2, eof, nodeNil),
		"children":           node(nodeMany, "T", "text", 0, 0, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}, eof),
		"matches":            node(nodeOpaque, "T", "text", 0, 200),
		"unknown match":      node(nodeOpaque, "T", "text", 0, 1, "nobody.ErrNothing"),
		"answers of nobody":  node(nodeOpaque, "T", "text", byte(isTimeout), 0),
		"other answers":      node(nodeOpaque, "T", "text", 16, 0),
		"deep":               deep,
		"too large":          make([]byte, MaxSize+1),
	} {
		t.Run(name, func(t *testing.T) {
			if err, malformed := Unmarshal(b); !errors.Is(malformed, ErrMalformed) || err != nil {
				t.Errorf("got %v, %v", err, malformed)
			}
		})
	}
	// A text that is not what the rebuilt error says wins, and hides nothing.
	err, malformed := Unmarshal(node(nodeTyped, "io/fs.PathError", string(fields), "other text", 0, 1, eof))
	if e, ok := errors.AsType[*fs.PathError](err); malformed != nil || err.Error() != "other text" || !ok || e.Path != "/p" || !errors.Is(err, io.EOF) {
		t.Errorf("%v, %v", err, malformed)
	}
}

func TestRegisterPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"sentinel without a name": func() { RegisterSentinel("", errors.New("x")) },
		"sentinel nil":            func() { RegisterSentinel("x", nil) },
		"sentinel twice":          func() { RegisterSentinel("y", io.EOF) },
		"name twice":              func() { RegisterSentinel("io.EOF", errors.New("x")) },
		"not comparable":          func() { RegisterSentinel("z", listErr{}) },
		"type twice": func() {
			RegisterType("other", func(*fs.PathError) (int, []error) { return 0, nil }, func(int, []error) (*fs.PathError, error) { return nil, nil })
		},
		"interface": func() {
			RegisterType("other", func(error) (int, []error) { return 0, nil }, func(int, []error) (error, error) { return nil, nil })
		},
		"fields that cannot cross": func() {
			RegisterType("other", func(isErr) (chan int, []error) { return nil, nil }, func(chan int, []error) (isErr, error) { return isErr{}, nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}

// These have some of the methods of net.Error.
type (
	saysTimeout struct {
		error
		timeout
	}
	saysTemporary struct {
		error
		temporary
	}
	saysBoth struct {
		error
		timeout
		temporary
	}
	saysAndWraps struct {
		saysBoth
		wrapped []error
	}
)

func (e saysAndWraps) Unwrap() []error { return e.wrapped }

// An error without a known type answers as before, and also one whose text was cut.
func TestTimeoutCannotGetLost(t *testing.T) {
	plain := errors.New("plain")
	long := errors.New(strings.Repeat("long ", MaxText/4))
	for _, err := range []error{
		plain, saysTimeout{plain, true}, saysTimeout{plain, false}, saysTemporary{plain, true}, saysTemporary{plain, false},
		saysBoth{plain, true, false}, saysBoth{plain, false, true},
		saysAndWraps{saysBoth{plain, true, true}, nil}, saysAndWraps{saysBoth{plain, true, false}, []error{io.EOF, fs.ErrExist}},
		&url.Error{Op: "Get", URL: "http://host", Err: context.DeadlineExceeded},
		&url.Error{Op: "Get", URL: "http://host", Err: saysTimeout{long, true}},
		&fs.PathError{Op: "read", Path: "/f", Err: saysTimeout{plain, true}},
		&fs.PathError{Op: "read", Path: strings.Repeat("long", MaxText), Err: saysTimeout{long, true}},
		os.NewSyscallError("read", os.ErrDeadlineExceeded),
	} {
		got := err
		for range 2 {
			got = cross(t, got)
			if answersOf(got) != answersOf(err) || os.IsTimeout(got) != os.IsTimeout(err) {
				t.Errorf("%T %.40v: answers %b became %b", err, err, answersOf(err), answersOf(got))
			}
			if TypeName(got) != TypeName(err) || errors.Is(got, io.EOF) != errors.Is(err, io.EOF) || errors.Is(got, fs.ErrExist) != errors.Is(err, fs.ErrExist) {
				t.Errorf("%T %.40v became %T, a %s", err, err, got, TypeName(got))
			}
		}
	}
}

func BenchmarkError(b *testing.B) {
	in := fmt.Errorf("x: %w", &fs.PathError{Op: "open", Path: "/p", Err: syscall.EACCES})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Unmarshal(Marshal(in)); err != nil {
			b.Fatal(err)
		}
	}
}

type roomy struct{ A [][1000]int64 }

func (*roomy) Error() string { return "roomy" }

func init() {
	type fields struct{ A [][1000]int64 }
	RegisterType("errtree_test.roomy",
		func(e *roomy) (fields, []error) { return fields{e.A}, nil },
		func(f fields, _ []error) (*roomy, error) { return &roomy{f.A}, nil })
}

// Fields that would become large are not decoded, 250 times 32 MiB say; what is known otherwise of
// their errors is.
func TestFieldsOfATreeShareTheirRoom(t *testing.T) {
	fields := append([]byte{0xa1, 0x61, 'A', 0x99, 0x01, 0x00}, bytes.Repeat([]byte{0x80}, 256)...) // 2 MB
	tree := codec.AppendString(codec.AppendString([]byte{nodeMany}, "*x.All"), "all")
	tree = append(tree, 0, 0)
	const n = 100
	tree = binary.AppendUvarint(tree, n)
	for range n {
		tree = codec.AppendString(codec.AppendString(append(tree, nodeTyped), "errtree_test.roomy"), fields)
		tree = append(codec.AppendString(tree, "roomy"), 0, 0)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err, bad := Unmarshal(tree)
	runtime.ReadMemStats(&after)
	if bad != nil {
		t.Fatal(bad)
	}
	whole, rest := 0, 0
	for _, e := range err.(interface{ Unwrap() []error }).Unwrap() {
		if r := (*roomy)(nil); errors.As(e, &r) && len(r.A) == 256 {
			whole++
		} else if e.Error() == "roomy" {
			rest++
		}
	}
	if whole != 2 || rest != n-whole {
		t.Errorf("%d whole, %d with their text", whole, rest)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 {
		t.Errorf("%d MiB", n>>20)
	}
}
