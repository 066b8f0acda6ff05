//go:build !plan9

package wire

import (
	"context"
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
)

// cross sends err to the other side.
func cross(t *testing.T, err error) error {
	t.Helper()
	b := MarshalError(err)
	if len(b) > MaxError {
		t.Fatalf("%d bytes", len(b))
	}
	got, malformed := UnmarshalError(b)
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

var errMine = errors.New("mine")

func init() {
	RegisterSentinel("wire_test.errMine", errMine)
	RegisterErrorType("wire_test.customErr",
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
		"value":           {err: &ValueError{Op: "encode", Type: "chan int", Path: "X", Root: "T"}, is: []error{ErrValue}},
		"size":            {err: &SizeError{"value", 5, 4}, is: []error{ErrTooLarge}},
		"no sentinel":     {err: errors.New("EOF"), not: []error{io.EOF}},
		"long":            {err: fmt.Errorf("%s: %w", strings.Repeat("x", MaxErrorText-20), io.EOF), is: []error{io.EOF}},
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
				if ErrorType(got) != ErrorType(tt.err) {
					t.Errorf("type %s became %s", ErrorType(tt.err), ErrorType(got))
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
	for range 10 * MaxErrorDepth {
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
		"wide":               {errors.Join(slices.Repeat([]error{io.EOF}, 10*MaxErrors)...), ""},
		"wide in wide":       {errors.Join(slices.Repeat([]error{errors.Join(slices.Repeat([]error{chain}, 20)...)}, 20)...), ""},
		"Error panics":       {&badErr{"Error"}, "(*wire.badErr, whose Error method panicked: in Error)"},
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
				if len(text) > MaxErrorText {
					text = cut(text, MaxErrorText)
				}
			}
			if start, end, ok := strings.Cut(text, "…"); ok {
				if s := got.Error(); !strings.HasPrefix(s, start) || !strings.HasSuffix(s, end) || len(s) > MaxErrorText {
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
			b = appendString(b, p)
		case int:
			b = append(b, byte(p))
		case []byte:
			b = append(b, p...)
		}
	}
	return b
}

func TestUnmarshalErrorRefuses(t *testing.T) {
	fields := must(Marshal(struct{ Op, Path string }{"open", "/p"}))
	eof := node(nodeSentinel, "io.EOF")
	deep := []byte{nodeSentinel}
	for range MaxErrorDepth + 2 {
		deep = node(nodeOne, "T", "text", 0, deep)
	}
	for name, b := range map[string][]byte{
		"nothing":            {},
		"trailing":           append(slices.Clone(eof), 0),
		"unknown kind":       {99},
		"unknown sentinel":   node(nodeSentinel, "nobody.ErrNothing"),
		"unknown type":       node(nodeTyped, "nobody.Error", "", "text", 0),
		"cut":                eof[:4],
		"PathError of nil":   node(nodeTyped, "io/fs.PathError", string(fields), "text", 1, nodeNil),
		"PathError of none":  node(nodeTyped, "io/fs.PathError", string(fields), "text", 0),
		"PathError of two":   node(nodeTyped, "io/fs.PathError", string(fields), "text", 2, eof, eof),
		"PathError's fields": node(nodeTyped, "io/fs.PathError", "\x01", "text", 1, eof),
		"wraps nil":          node(nodeOne, "T", "text", 0, nodeNil),
		"wraps nil too":      node(nodeMany, "T", "text", 0, 2, eof, nodeNil),
		"children":           node(nodeMany, "T", "text", 0, []byte{0xff, 0xff, 0xff, 0xff, 0x0f}, eof),
		"matches":            node(nodeOpaque, "T", "text", 200),
		"unknown match":      node(nodeOpaque, "T", "text", 1, "nobody.ErrNothing"),
		"deep":               deep,
		"too large":          make([]byte, MaxError+1),
	} {
		t.Run(name, func(t *testing.T) {
			if err, malformed := UnmarshalError(b); !errors.Is(malformed, ErrProtocol) || err != nil {
				t.Errorf("got %v, %v", err, malformed)
			}
		})
	}
	// A text that is not what the rebuilt error says wins, and hides nothing.
	err, malformed := UnmarshalError(node(nodeTyped, "io/fs.PathError", string(fields), "other text", 1, eof))
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
			RegisterErrorType("other", func(*fs.PathError) (int, []error) { return 0, nil }, func(int, []error) (*fs.PathError, error) { return nil, nil })
		},
		"interface": func() {
			RegisterErrorType("other", func(error) (int, []error) { return 0, nil }, func(int, []error) (error, error) { return nil, nil })
		},
		"fields that cannot cross": func() {
			RegisterErrorType("other", func(isErr) (chan int, []error) { return nil, nil }, func(chan int, []error) (isErr, error) { return isErr{}, nil })
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

type loud struct{ n int }

func (l loud) String() string {
	if l.n == 0 {
		panic("loud")
	}
	return "quiet"
}

func TestOutcomes(t *testing.T) {
	loop := []any{nil}
	loop[0] = loop
	stack := []byte("goroutine 1 [running]:")
	value := must(Marshal("value"))
	for name, tt := range map[string]struct{ in, want Outcome }{
		"returned":    {in: Outcome{Kind: Returned, Value: value}},
		"nothing":     {in: Outcome{Kind: Returned}},
		"both":        {in: Outcome{Kind: Returned, Value: value, Err: io.EOF}},
		"goexit":      {in: Outcome{Kind: Goexited}},
		"nobody":      {in: Outcome{Kind: NotRegistered, Err: errMine}},
		"unserved":    {in: Outcome{Kind: Unserved, Err: &SizeError{"value", 1, 0}}},
		"panic":       {in: Outcome{Kind: Panicked, Panic: &Panic{"text", stack}}},
		"panic error": {in: Outcome{Kind: Panicked, Panic: &Panic{io.EOF, stack}}},
		"panic int": {
			Outcome{Kind: Panicked, Panic: &Panic{42, stack}},
			Outcome{Kind: Panicked, Panic: &Panic{"42", stack}}},
		"panic struct": {
			Outcome{Kind: Panicked, Panic: &Panic{&inner{1, "x"}, stack}},
			Outcome{Kind: Panicked, Panic: &Panic{"&{1 x}", stack}}},
		"panic Stringer": {
			Outcome{Kind: Panicked, Panic: &Panic{loud{1}, stack}},
			Outcome{Kind: Panicked, Panic: &Panic{"quiet", stack}}},
		"panic in String": {
			Outcome{Kind: Panicked, Panic: &Panic{loud{0}, stack}},
			Outcome{Kind: Panicked, Panic: &Panic{"%!v(PANIC=String method: loud)", stack}}},
		"panic in a cycle": {
			Outcome{Kind: Panicked, Panic: &Panic{loop, stack}},
			Outcome{Kind: Panicked, Panic: &Panic{"([]interface {})", stack}}},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.want.Kind == 0 {
				tt.want = tt.in
			}
			b, err := tt.in.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			got, err := UnmarshalOutcome(b)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, tt.want) {
				t.Errorf("became %+v", got)
			}
			f, err := tt.in.Frame(3)
			if err != nil || f.Type != Result || f.ID != 3 || string(f.Payload)+string(f.Tail) != string(b) {
				t.Errorf("frame %+v, %v", f, err)
			}
			for n := range b[:len(b)-len(tt.in.Value)] {
				if _, err := UnmarshalOutcome(b[:n]); !errors.Is(err, ErrProtocol) {
					t.Errorf("cut to %d bytes: %v", n, err)
				}
			}
		})
	}
	long := Outcome{Kind: Panicked, Panic: &Panic{strings.Repeat("x", 1<<20), make([]byte, 1<<20)}}
	b, err := long.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := UnmarshalOutcome(b); err != nil || len(got.Panic.Stack) > MaxStack || len(got.Panic.Value.(string)) > MaxErrorText {
		t.Errorf("%v", err)
	}
	large := Outcome{Kind: Returned, Value: make([]byte, MaxValue+1)}
	if _, err := large.Marshal(); !errors.Is(err, ErrTooLarge) {
		t.Errorf("large: %v", err)
	}
	if _, err := large.Frame(1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("large: %v", err)
	}
	for _, b := range [][]byte{{}, {0}, {byte(endOfOutcomes), 0}, {byte(Goexited), 0, 1}, {byte(Returned), 0xff, 0xff, 0xff, 0x7f}} {
		if _, err := UnmarshalOutcome(b); !errors.Is(err, ErrProtocol) {
			t.Errorf("% x: %v", b, err)
		}
	}
}

func TestRequests(t *testing.T) {
	r := Request{Name: "f" + notUTF8, Deadline: -5, Value: []byte("value"), Place: Place{Root: true, Dir: "/a" + notUTF8, HasUmask: true, Umask: 0o27, Whole: true}}
	f, err := r.Frame(9)
	if err != nil {
		t.Fatal(err)
	}
	b := append(f.Payload, f.Tail...)
	if got, err := ParseRequest(b); err != nil || !reflect.DeepEqual(got, r) || f.ID != 9 || f.Type != Call {
		t.Errorf("%+v, %v", got, err)
	}
	for n := range len(f.Payload) {
		if _, err := ParseRequest(b[:n]); !errors.Is(err, ErrProtocol) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := (Request{Name: strings.Repeat("x", MaxName+1)}).Frame(1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("long name: %v", err)
	}
	if _, err := (Request{Value: make([]byte, MaxValue+1)}).Frame(1); !errors.Is(err, ErrTooLarge) {
		t.Errorf("large value: %v", err)
	}
	for _, b := range [][]byte{nil, make([]byte, 7), {2, 0, 0, 0, 1, 0, 0, 0}, {1, 0, 0, 0, 0, 0, 0, 0}} {
		if _, err := ParseHello(b); (err == nil) != (len(b) == 8 && b[0] == Version) {
			t.Errorf("% x: %v", b, err)
		}
	}
}

func BenchmarkError(b *testing.B) {
	in := fmt.Errorf("x: %w", &fs.PathError{Op: "open", Path: "/p", Err: syscall.EACCES})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := UnmarshalError(MarshalError(in)); err != nil {
			b.Fatal(err)
		}
	}
}
