package wire

import (
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/errtree"
	"github.com/gonso/gonso/internal/sys"
)

const notUTF8 = "a\xff\xfe/\x00b\xc3"

var errMine = errors.New("mine")

func init() { errtree.RegisterSentinel("wire_test.errMine", errMine) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// whole is f as it is read on the other side.
func whole(f Frame) Frame {
	f.Payload, f.Tail = append(f.Payload, f.Tail...), nil
	return f
}

type inner struct {
	A int
	B string
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
	value := codec.Value{Bytes: must(codec.Marshal("value"))}
	for name, tt := range map[string]struct{ in, want Outcome }{
		"returned":    {in: Outcome{Kind: Returned, Value: value}},
		"nothing":     {in: Outcome{Kind: Returned}},
		"both":        {in: Outcome{Kind: Returned, Value: value, Err: io.EOF}},
		"goexit":      {in: Outcome{Kind: Goexited}},
		"nobody":      {in: Outcome{Kind: NotRegistered, Err: errMine}},
		"unserved":    {in: Outcome{Kind: Unserved, Err: &codec.SizeError{What: "value", Size: 1}}},
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
			f, err := tt.in.Frame(3)
			if err != nil || f.Type != Result || f.ID != 3 {
				t.Fatalf("frame %+v, %v", f, err)
			}
			got, err := ParseOutcome(whole(f))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*got, tt.want) {
				t.Errorf("became %+v", got)
			}
			if got, err := tt.in.Cross(); err != nil || !reflect.DeepEqual(*got, tt.want) {
				t.Errorf("crossing became %+v, %v", got, err)
			}
			for n := range f.Payload {
				if _, err := ParseOutcome(Frame{Payload: f.Payload[:n]}); !errors.Is(err, ErrProtocol) {
					t.Errorf("cut to %d bytes: %v", n, err)
				}
			}
		})
	}
	long := Outcome{Kind: Panicked, Panic: &Panic{strings.Repeat("x", 1<<20), make([]byte, 1<<20)}}
	if got, err := long.Cross(); err != nil || len(got.Panic.Stack) > MaxStack || len(got.Panic.Value.(string)) > errtree.MaxText {
		t.Errorf("%v", err)
	}
	large := Outcome{Kind: Returned, Value: codec.Value{Bytes: make([]byte, codec.MaxValue+1)}}
	if _, err := large.Cross(); !errors.Is(err, codec.ErrTooLarge) {
		t.Errorf("large: %v", err)
	}
	if _, err := large.Frame(1); !errors.Is(err, codec.ErrTooLarge) {
		t.Errorf("large: %v", err)
	}
	for _, b := range [][]byte{{}, {0}, {byte(endOfOutcomes), 0}, {byte(Goexited), 0, 1}, {byte(Returned), 0xff, 0xff, 0xff, 0x7f}} {
		if _, err := ParseOutcome(Frame{Payload: b}); !errors.Is(err, ErrProtocol) {
			t.Errorf("% x: %v", b, err)
		}
	}
}

func TestRequests(t *testing.T) {
	r := Request{Name: "f" + notUTF8, Deadline: time.Unix(-5, 7),
		Value: codec.Value{Bytes: []byte("value"), Files: []*os.File{os.Stdin}},
		Place: sys.Place{Root: os.Stdout, Dir: "/a" + notUTF8, HasUmask: true, Umask: 0o27, Whole: true, Theirs: true}, EndThread: true}
	f, err := r.Frame(9)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseRequest(whole(f)); err != nil || !reflect.DeepEqual(got, r) || f.ID != 9 || f.Type != Call || len(f.Files) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	dirs := Request{Name: "f", Value: r.Value, Place: sys.Place{Root: os.Stdout, DirFile: os.Stderr, Theirs: true}}
	f, err = dirs.Frame(9)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParseRequest(whole(f)); err != nil || !reflect.DeepEqual(got, dirs) || len(f.Files) != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := ParseRequest(Frame{Payload: f.Payload}); !errors.Is(err, ErrProtocol) {
		t.Errorf("without its files: %v", err)
	}
	if f, err = r.Frame(9); err != nil {
		t.Fatal(err)
	}
	for _, d := range []time.Time{{}, time.Unix(0, 0), time.Unix(1<<55, 999999999), time.Unix(-1<<55, 0)} {
		r := Request{Name: "f", Deadline: d}
		f, err := r.Frame(9)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ParseRequest(whole(f)); err != nil || !got.Deadline.Equal(d) || got.Deadline.IsZero() != d.IsZero() {
			t.Errorf("%v: %v, %v", d, got.Deadline, err)
		}
	}
	for n := range len(f.Payload) {
		if _, err := ParseRequest(Frame{Payload: f.Payload[:n]}); !errors.Is(err, ErrProtocol) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	// A root directory that was not sent along.
	if _, err := ParseRequest(Frame{Payload: f.Payload}); !errors.Is(err, ErrProtocol) {
		t.Errorf("without its files: %v", err)
	}
	if _, err := (&Request{Name: strings.Repeat("x", MaxName+1)}).Frame(1); !errors.Is(err, codec.ErrTooLarge) {
		t.Errorf("long name: %v", err)
	}
	if _, err := (&Request{Value: codec.Value{Bytes: make([]byte, codec.MaxValue+1)}}).Frame(1); !errors.Is(err, codec.ErrTooLarge) {
		t.Errorf("large value: %v", err)
	}
	for _, b := range [][]byte{nil, make([]byte, 7), {2, 0, 0, 0, 1, 0, 0, 0}, {1, 0, 0, 0, 0, 0, 0, 0}} {
		if _, err := ParseHello(b); (err == nil) != (len(b) == 8 && b[0] == Version) {
			t.Errorf("% x: %v", b, err)
		}
	}
}
