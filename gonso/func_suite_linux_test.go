package gonso

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/big"
	"net"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/errtree"
	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/testenv"
	"github.com/gonso/gonso/internal/wire"
)

// One suite of registered functions runs on both backends, and what comes home
// is compared with what is expected and between the backends.

// suiteCase is one call. It is made by package initialization, so that the
// worker has registered its function too.
type suiteCase struct {
	name string
	call func(context.Context, *Set, ...DoOption) (any, error)
	// want is what the function itself returns, called directly; nil where that
	// makes no sense and check says it all.
	want  func() (any, error)
	check func(testing.TB, outcome)
}

// outcome is what can be told about how a call ended.
type outcome struct {
	Value any
	Text  string   // of the error
	Is    []string // of targets
	As    []string // of types, with what is in them

	err error
}

var errSuite = errors.New("a sentinel that the program registered")

func init() { errtree.RegisterSentinel("gonso/test.errSuite", errSuite) }

var targets = map[string]error{
	"EPERM": unix.EPERM, "ENOENT": unix.ENOENT, "EAGAIN": unix.EAGAIN, "EEXIST": unix.EEXIST, "EINVAL": unix.EINVAL,
	"os.ErrNotExist": fs.ErrNotExist, "os.ErrExist": fs.ErrExist, "os.ErrPermission": fs.ErrPermission,
	"os.ErrClosed": fs.ErrClosed, "os.ErrInvalid": fs.ErrInvalid, "os.ErrDeadlineExceeded": os.ErrDeadlineExceeded,
	"os.ErrProcessDone": os.ErrProcessDone, "fs.SkipDir": fs.SkipDir,
	"io.EOF": io.EOF, "io.ErrUnexpectedEOF": io.ErrUnexpectedEOF, "io.ErrShortWrite": io.ErrShortWrite, "io.ErrClosedPipe": io.ErrClosedPipe,
	"context.Canceled": context.Canceled, "context.DeadlineExceeded": context.DeadlineExceeded,
	"ErrUnsupported": errors.ErrUnsupported, "ErrNeedsProcess": ErrNeedsProcess, "ErrGoexit": ErrGoexit, "ErrClosed": ErrClosed,
	"ErrNotNamespace": ErrNotNamespace, "ErrNotInitialized": ErrNotInitialized, "ErrNotRegistered": ErrNotRegistered,
	"ErrWorkerDied": ErrWorkerDied, "errSuite": errSuite, "codec.ErrValue": codec.ErrValue, "codec.ErrTooLarge": codec.ErrTooLarge,
}

func outcomeOf(v any, err error) outcome {
	o := outcome{Value: v, err: err}
	if err == nil {
		return o
	}
	// The stack of a panic is of another goroutine each time.
	o.Text, _, _ = strings.Cut(err.Error(), "\n\ngoroutine ")
	for name, target := range targets {
		if errors.Is(err, target) {
			o.Is = append(o.Is, name)
		}
	}
	slices.Sort(o.Is)
	as := func(ok bool, format string, args ...any) {
		if ok {
			o.As = append(o.As, fmt.Sprintf(format, args...))
		}
	}
	if e, ok := errors.AsType[unix.Errno](err); ok {
		as(ok, "errno %d", e)
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		as(ok, "PathError %q %q %v", e.Op, e.Path, e.Err)
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		as(ok, "LinkError %q %q %q %v", e.Op, e.Old, e.New, e.Err)
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		as(ok, "SyscallError %q %v", e.Syscall, e.Err)
	}
	if e, ok := errors.AsType[*Error](err); ok {
		as(ok, "Error %q %v %q %q %v", e.Op, e.Type, e.Path, e.Hint, e.Err)
	}
	if e, ok := errors.AsType[*PanicError](err); ok {
		value, _, _ := strings.Cut(fmt.Sprint(e.Value), "\n\ngoroutine ")
		as(ok, "PanicError %s, from suitePanic: %v", value, bytes.Contains(e.Stack, []byte("suitePanic")))
	}
	if e, ok := errors.AsType[*codec.ValueError](err); ok {
		as(ok, "ValueError %+v", *e)
	}
	if e, ok := errors.AsType[*codec.SizeError](err); ok {
		as(ok, "SizeError %+v", *e)
	}
	return o
}

func (o outcome) String() string {
	v := fmt.Sprintf("%#v", o.Value)
	if len(v) > 300 {
		v = v[:300] + "..."
	}
	return fmt.Sprintf("value %s, error %q, is %q, as %q", v, o.Text, o.Is, o.As)
}

func (o outcome) same(p outcome) bool {
	return reflect.DeepEqual(o.Value, p.Value) && o.Text == p.Text && slices.Equal(o.Is, p.Is) && slices.Equal(o.As, p.As)
}

// caseOf registers fn as a case with one argument.
func caseOf[In, Out any](name string, in In, fn func(context.Context, In) (Out, error), opts ...FuncOption) suiteCase {
	f := Register("suite/"+name, fn, opts...)
	return suiteCase{
		name: name,
		call: func(ctx context.Context, s *Set, opts ...DoOption) (any, error) {
			return boxed(f.Do(ctx, s, in, opts...))
		},
		want: func() (any, error) { return boxed(fn(context.Background(), in)) },
	}
}

func boxed[T any](v T, err error) (any, error) { return v, err }

// echo is a case whose value comes back as it was.
func echo[T any](name string, v T) suiteCase {
	return caseOf("echo "+name, v, func(_ context.Context, v T) (T, error) { return v, nil })
}

// bigCase is caseOf for arguments that are made when they are needed: every
// worker goes through package initialization.
func bigCase[In, Out any](name string, in func() In, fn func(context.Context, In) (Out, error)) suiteCase {
	f := Register("suite/"+name, fn)
	return suiteCase{
		name: name,
		call: func(ctx context.Context, s *Set, opts ...DoOption) (any, error) {
			return boxed(f.Do(ctx, s, in(), opts...))
		},
		want: func() (any, error) { return boxed(fn(context.Background(), in())) },
	}
}

func same[T any](_ context.Context, v T) (T, error) { return v, nil }

// checked replaces what is expected by a check.
func (c suiteCase) checked(check func(testing.TB, outcome)) suiteCase {
	c.want, c.check = nil, check
	return c
}

type inner struct {
	Name  string
	Bytes []byte
	Next  *inner
}

type everything struct {
	B        bool
	I8       int8
	U64      uint64
	F        float64
	S        string
	Raw      []byte
	Nil      []int
	Empty    []int
	NilMap   map[string]int
	EmptyMap map[string]int
	Map      map[string]inner
	ByNumber map[int]string
	Arr      [3]uint16
	P        *int
	NilP     *int
	Any      any
	D        time.Duration
	Err      string `json:"error,omitempty"`
	inner
	Embedded inner
	Strings  []string
	private  int
}

type flat struct {
	S string
	A [2]both
	F float32
	D time.Duration
}

const notUTF8 = "path\xff\xfe/\x80name\x00end"

func num(n int) *int { return &n }

// errorsOf are made anew by each side.
func errorsOf() []error {
	_, open := os.Open("/does/not/exist")
	link := os.Link("/does/not/exist", "/neither")
	_, number := fmt.Sscanf("x", "%d", new(int))
	return []error{
		unix.EPERM, unix.ENOENT, unix.Errno(0), unix.Errno(4000), os.NewSyscallError("mount", unix.EBUSY),
		open, link, number,
		&fs.PathError{Op: "open", Path: notUTF8, Err: unix.EACCES},
		io.EOF, io.ErrUnexpectedEOF, io.ErrShortWrite, io.ErrClosedPipe,
		fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrClosed, fs.ErrInvalid, fs.SkipDir,
		os.ErrDeadlineExceeded, os.ErrProcessDone, context.Canceled, context.DeadlineExceeded, errors.ErrUnsupported,
		errSuite, errors.New("plain"), errors.New(""), errors.New(notUTF8), errors.New(strings.Repeat("long ", 5000)),
		fmt.Errorf("reading config: %w", open),
		fmt.Errorf("two: %w and %w", unix.EAGAIN, io.EOF),
		errors.Join(errSuite, nil, fmt.Errorf("deeper: %w", &fs.PathError{Op: "stat", Path: "/x", Err: unix.ELOOP})),
		fmt.Errorf("a: %w", fmt.Errorf("b: %w", fmt.Errorf("c: %w", unix.EEXIST))),
		&Error{Op: "setns", Type: User | Net, Err: ErrNeedsProcess, Hint: "a hint"},
		&Error{Op: "open", Path: "/some/file", Err: ErrNotNamespace},
		ErrGoexit, ErrClosed, fmt.Errorf("wrapped: %w", ErrWorkerDied),
		&net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", unix.ECONNREFUSED)},
		&exec.Error{Name: "x", Err: exec.ErrNotFound},
		customError{7}, &timeoutError{},
	}
}

type customError struct{ n int }

func (e customError) Error() string        { return fmt.Sprintf("custom %d", e.n) }
func (e customError) Is(target error) bool { return target == fs.ErrPermission }

type timeoutError struct{}

func (*timeoutError) Error() string   { return "timeout" }
func (*timeoutError) Unwrap() []error { return []error{os.ErrDeadlineExceeded, unix.ETIMEDOUT} }

func suitePanic(v any) { panic(v) }

type suiteKey struct{}

// crowd is how many calls are inside at once; each waits for the others.
const crowd = 64

var barrier struct {
	sync.Mutex
	n    int
	full chan struct{}
}

// arrive waits until a crowd of calls is in this process, whichever that is.
func arrive(ctx context.Context, n int) (int, error) {
	barrier.Lock()
	if barrier.n == 0 {
		barrier.full = make(chan struct{})
	}
	barrier.n++
	full := barrier.full
	if barrier.n == crowd {
		barrier.n = 0
		close(full)
	}
	barrier.Unlock()
	select {
	case <-full:
		return n * n, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

type both struct {
	N int
	S string
}

var suite = makeSuite()

func makeSuite() []suiteCase {
	all := []suiteCase{
		echo("nothing", struct{}{}),
		echo("bool", true),
		echo("int min", int64(math.MinInt64)),
		echo("uint max", uint64(math.MaxUint64)),
		echo("float", math.Pi),
		echo("infinity", math.Inf(-1)),
		echo("negative zero", math.Float64bits(math.Copysign(0, -1))),
		echo("empty string", ""),
		echo("string that is not UTF-8", notUTF8),
		echo("bytes", []byte{0, 0xff, '"', '\n'}),
		echo("nil bytes", []byte(nil)),
		echo("no bytes", []byte{}),
		echo("nil slice", []string(nil)),
		echo("empty slice", []string{}),
		echo("strings that are not UTF-8", []string{notUTF8, "", "ü"}),
		echo("keys that are not UTF-8", map[string]string{notUTF8: "a", "b": notUTF8, "\xff": "", "": "\xfe"}),
		echo("nil map", map[string]int(nil)),
		echo("map by number", map[int64][]bool{-1: {true}, math.MaxInt64: nil}),
		echo("array", [4]int8{-128, 0, 1, 127}),
		echo("flat struct", flat{S: notUTF8, A: [2]both{{1, "a"}, {2, notUTF8}}, F: 1.5, D: time.Hour}),
		bigCase("flat, 2 MiB each way", func() flat { return flat{S: strings.Repeat("x", 2<<20)} }, same),
		bigCase("flat, 2 MiB back", func() int { return 2 << 20 }, func(_ context.Context, n int) (flat, error) { return flat{S: strings.Repeat("x", n)}, io.EOF }),
		caseOf("flat, panics", flat{}, func(context.Context, flat) (flat, error) { suitePanic("flat"); return flat{}, nil }).checked(func(t testing.TB, o outcome) {
			if _, ok := errors.AsType[*PanicError](o.err); !ok {
				t.Errorf("%v", o.err)
			}
		}),
		echo("pointer", num(5)),
		echo("nil pointer", (*inner)(nil)),
		echo("big", new(big.Int).Lsh(big.NewInt(1), 200)),
		echo("duration", 90*time.Minute),
		echo("file mode", fs.FileMode(0o4755)|fs.ModeDir),
		echo("any nil", any(nil)),
		echo("any", any([]any{int64(1), "x", []byte("raw"), map[string]any{"k": 1.5, notUTF8: nil}, true})),
		echo("everything", everything{
			B: true, I8: -5, U64: math.MaxUint64, F: 0.1, S: notUTF8, Raw: []byte{1, 0}, Empty: []int{}, EmptyMap: map[string]int{},
			Map:      map[string]inner{notUTF8: {Name: "n", Next: &inner{Bytes: []byte{}}}},
			ByNumber: map[int]string{-7: "minus"}, Arr: [3]uint16{1, 2, 65535}, P: num(9), Any: "dynamic", D: -1,
			Err: "e", inner: inner{Name: "in"}, Embedded: inner{Next: &inner{}}, Strings: []string{"\x80"},
		}),
		bigCase("10 MiB string", func() string { return strings.Repeat("0123456789abcde\xff", 10<<20/16) }, same),
		bigCase("10 MiB bytes", func() []byte { return bytes.Repeat([]byte{0, 1, 2, 3, 4, 5, 6, 7}, 10<<20/8) }, same),
		bigCase("10 MiB in parts", func() []string { return slices.Repeat([]string{strings.Repeat("x", 1<<10)}, 10<<10) }, same),
		caseOf("time", time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.FixedZone("somewhere", 5*3600+1800)),
			func(_ context.Context, at time.Time) (string, error) { return at.Format(time.RFC3339Nano), nil }),
		bigCase("10 MiB one way", func() []byte { return bytes.Repeat([]byte{'x'}, 10<<20) },
			func(_ context.Context, b []byte) (int, error) { return len(b), nil }),
		caseOf("private fields stay", everything{private: 5, S: "s"},
			func(_ context.Context, e everything) (string, error) { return e.S, nil }),

		// Errors.
		caseOf("value and error", 20, func(_ context.Context, n int) (both, error) { return both{n * 2, notUTF8}, io.EOF }),
		caseOf("nil value and error", 1, func(context.Context, int) (map[string]int, error) { return nil, unix.EROFS }),

		// Panics.
		caseOf("panic with string", "oops \xff", func(_ context.Context, v string) (int, error) { suitePanic(v); return 0, nil }).
			checked(wantPanic("oops \xff")),
		caseOf("panic with error", 0, func(context.Context, int) (int, error) {
			suitePanic(fmt.Errorf("deep: %w", &fs.PathError{Op: "open", Path: "/x", Err: unix.ENOENT}))
			return 0, nil
		}).checked(wantPanic("deep: open /x: no such file or directory", "os.ErrNotExist", "ENOENT")),
		caseOf("panic with sentinel", 0, func(context.Context, int) (int, error) { suitePanic(errSuite); return 0, nil }).
			checked(wantPanic(errSuite.Error(), "errSuite")),
		caseOf("panic with a value", 0, func(context.Context, int) (int, error) { suitePanic(both{1, "x"}); return 0, nil }).
			checked(wantPanic("{1 x}")),
		caseOf("panic with nil", 0, func(context.Context, int) (int, error) { suitePanic(nil); return 0, nil }).
			checked(func(t testing.TB, o outcome) {
				pe, _ := o.err.(*PanicError)
				if pe == nil || !strings.Contains(pe.Error(), "nil") {
					t.Errorf("%v", o)
				}
			}),
		caseOf("nil dereference", 0, func(context.Context, int) (string, error) { return suitePanicNil(nil), nil }).
			checked(func(t testing.TB, o outcome) {
				if o.Text != "panic: runtime error: invalid memory address or nil pointer dereference" || !strings.HasSuffix(o.As[0], "true") {
					t.Errorf("%v", o)
				}
			}),
		caseOf("Goexit", 0, func(context.Context, int) (int, error) { runtime.Goexit(); return 1, nil }).
			checked(wantErrorOutcome("ErrGoexit")),
		caseOf("FailNow", 0, func(context.Context, int) (int, error) { new(testing.T).FailNow(); return 1, nil }).
			checked(wantErrorOutcome("ErrGoexit")),

		// What cannot cross.
		caseOf("any holding a channel, out", 0, func(context.Context, int) (any, error) { return make(chan int), nil }).
			checked(wantErrorOutcome("codec.ErrValue", "chan int")),
		caseOf("any holding a function in a map, out, and an error", 0,
			func(context.Context, int) (map[string]any, error) { return map[string]any{"k": func() {}}, unix.EPERM }).
			checked(wantErrorOutcome("codec.ErrValue", "func()", "operation not permitted")),
		caseOf("any holding a channel, in", any([]any{make(chan int)}), func(_ context.Context, v any) (any, error) { return v, nil }).
			checked(wantErrorOutcome("codec.ErrValue", "chan int", "argument")),
		caseOf("a result above the cap", codec.MaxValue, func(_ context.Context, n int) ([]byte, error) { return make([]byte, n), nil }).
			checked(wantErrorOutcome("codec.ErrTooLarge", "67108864")),
		caseOf("a cycle", 0, func(context.Context, int) (*inner, error) { n := &inner{}; n.Next = n; return n, nil }).
			checked(wantErrorOutcome("codec.ErrValue", "cycle")),

		// Using gonso inside.
		caseOf("Do inside", 3, func(_ context.Context, n int) (int, error) {
			err := new(Set).Run(func() error { n *= n; return nil })
			return n, err
		}),
		caseOf("Do inside Do inside", 3, func(ctx context.Context, n int) (int, error) {
			return n, new(Set).Run(func() error {
				return new(Set).Run(func() (err error) { n, err = twice.Do(ctx, new(Set), n); return err })
			})
		}),
		caseOf("a process inside", 3, func(ctx context.Context, n int) (int, error) {
			var s Set
			defer s.Close()
			return twice.Do(ctx, &s, n, InProcess())
		}),
		caseOf("a refused closure inside", 0, func(context.Context, int) (int, error) {
			s, err := Unshare(User | UTS)
			if err != nil {
				return 0, err
			}
			defer s.Close()
			return 1, s.Run(func() error { return nil })
		}).checked(wantErrorOutcome("ErrNeedsProcess", "gonso.Register")),
		caseOf("a panic inside a closure inside", 0, func(context.Context, int) (int, error) {
			return 0, new(Set).Run(func() error { suitePanic("inner"); return nil })
		}).checked(func(t testing.TB, o outcome) {
			if !strings.Contains(o.Text, "panic: inner") {
				t.Errorf("%v", o)
			}
		}),
		caseOf("gonso's errors", 0, func(context.Context, int) (int, error) {
			_, err := Open("/dev/null")
			return 0, err
		}),
	}
	kind := Register("suite/error", func(_ context.Context, i int) (int, error) { return i, errorsOf()[i] })
	if os.Args[0] != handshake.Name {
		for i := range errorsOf() {
			all = append(all, suiteCase{name: fmt.Sprintf("error %d", i),
				call: func(ctx context.Context, s *Set, opts ...DoOption) (any, error) {
					return boxed(kind.Do(ctx, s, i, opts...))
				},
				want: func() (any, error) { return i, errorsOf()[i] }})
		}
	}

	// Contexts.
	deadline := Register("suite/deadline", func(ctx context.Context, _ struct{}) (int64, error) {
		d, ok := ctx.Deadline()
		if !ok {
			return 0, errors.New("no deadline")
		}
		return d.UnixNano(), ctx.Err()
	})
	value := Register("suite/value", func(ctx context.Context, _ struct{}) (bool, error) {
		return ctx.Value(suiteKey{}) == nil, nil
	})
	waiting := Register("suite/waiting", func(ctx context.Context, ready string) (string, error) {
		if ready != "" {
			if err := os.WriteFile(ready, nil, 0o600); err != nil {
				return "", err
			}
		}
		// A derived context ends along with it.
		sub, cancel := context.WithCancel(ctx)
		defer cancel()
		<-sub.Done()
		return context.Cause(ctx).Error(), ctx.Err()
	})
	ran := Register("suite/ran", func(_ context.Context, file string) (bool, error) {
		return true, os.WriteFile(file, nil, 0o600)
	})
	many := Register("suite/many", arrive)
	all = append(all,
		suiteCase{name: "deadline crosses", call: func(ctx context.Context, s *Set, opts ...DoOption) (any, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			n, err := deadline.Do(ctx, s, struct{}{}, opts...)
			d, _ := ctx.Deadline()
			// Where the clocks look as if somebody had set one, the time that is left counts.
			return time.Unix(0, n).Sub(d.Round(0)).Abs() < time.Second, err
		}, want: func() (any, error) { return true, nil }},
		suiteCase{name: "no deadline", call: func(ctx context.Context, s *Set, opts ...DoOption) (any, error) {
			return boxed(deadline.Do(ctx, s, struct{}{}, opts...))
		}, want: func() (any, error) { return int64(0), errors.New("no deadline") }},
		suiteCase{name: "values do not cross", call: func(ctx context.Context, s *Set, opts ...DoOption) (any, error) {
			return boxed(value.Do(context.WithValue(ctx, suiteKey{}, 1), s, struct{}{}, opts...))
		}, want: func() (any, error) { return true, nil }},
		suiteCase{name: "cancelled while it runs", call: func(ctx context.Context, s *Set, opts ...DoOption) (any, error) {
			return cancelOnceRunning(waiting, ctx, s, opts)
		}, want: func() (any, error) { return "context canceled", context.Canceled }},
		suiteCase{name: "expires while it runs", call: func(ctx context.Context, s *Set, opts ...DoOption) (any, error) {
			// The worker is there, so that the time is the function's.
			if _, err := value.Do(ctx, s, struct{}{}, opts...); err != nil {
				return nil, err
			}
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			return boxed(waiting.Do(ctx, s, "", opts...))
		}, want: func() (any, error) { return "context deadline exceeded", context.DeadlineExceeded }},
		suiteCase{name: "cancelled before", call: func(ctx context.Context, s *Set, opts ...DoOption) (any, error) {
			ctx, cancel := context.WithCancelCause(ctx)
			cancel(errSuite)
			return notRun(ran, ctx, s, opts)
		}, want: func() (any, error) { return false, context.Canceled }},
		suiteCase{name: "expired before", call: func(ctx context.Context, s *Set, opts ...DoOption) (any, error) {
			ctx, cancel := context.WithDeadline(ctx, time.Unix(1, 0))
			defer cancel()
			return notRun(ran, ctx, s, opts)
		}, want: func() (any, error) { return false, context.DeadlineExceeded }},
		suiteCase{name: "64 at once", call: func(ctx context.Context, s *Set, opts ...DoOption) (any, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			var wg sync.WaitGroup
			got, errs := make([]int, crowd), make([]error, crowd)
			for i := range crowd {
				wg.Go(func() { got[i], errs[i] = many.Do(ctx, s, i, opts...) })
			}
			wg.Wait()
			return got, errors.Join(errs...)
		}, want: func() (any, error) {
			var squares []int
			for i := range crowd {
				squares = append(squares, i*i)
			}
			return squares, nil
		}},
	)
	return all
}

var twice = Register("suite/twice", func(_ context.Context, n int) (int, error) { return 2 * n, nil })

func suitePanicNil(p *both) string { return p.S }

// cancelOnceRunning cancels a call, with a cause, once the function runs.
func cancelOnceRunning(f *Func[string, string], ctx context.Context, s *Set, opts []DoOption) (any, error) {
	dir, err := os.MkdirTemp("", "suite-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	ready := dir + "/ready"
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		testenv.Poll(func() bool { _, err := os.Stat(ready); return err == nil })
		cancel(errSuite)
	}()
	return boxed(f.Do(ctx, s, ready, opts...))
}

// notRun says whether f, which writes a file, ran.
func notRun(f *Func[string, bool], ctx context.Context, s *Set, opts []DoOption) (any, error) {
	dir, err := os.MkdirTemp("", "suite-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	_, doErr := f.Do(ctx, s, dir+"/ran", opts...)
	_, err = os.Stat(dir + "/ran")
	return err == nil, doErr
}

func wantPanic(text string, is ...string) func(testing.TB, outcome) {
	return func(t testing.TB, o outcome) {
		slices.Sort(is)
		pe, _ := o.err.(*PanicError)
		if pe == nil || o.Text != "panic: "+text || !slices.Equal(o.Is, is) || !bytes.Contains(pe.Stack, []byte("suitePanic")) {
			t.Errorf("%v; want a panic with %q that is %q", o, text, is)
		}
		if len(is) > 0 {
			if _, ok := pe.Value.(error); !ok {
				t.Errorf("the value is %T, want an error", pe.Value)
			}
		}
	}
}

func wantErrorOutcome(is string, words ...string) func(testing.TB, outcome) {
	return func(t testing.TB, o outcome) {
		if !slices.Contains(o.Is, is) {
			t.Errorf("%v; want an error that is %s", o, is)
		}
		for _, w := range words {
			if !strings.Contains(o.Text, w) {
				t.Errorf("%q; want %q in it", o.Text, w)
			}
		}
	}
}

func TestSuiteIsTheSameOnBothBackends(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	sets := []struct {
		name   string
		set    *Set
		thread bool
	}{{"zero Set", new(Set), true}}
	if testenv.Has(testenv.Root) {
		sets = append(sets, struct {
			name   string
			set    *Set
			thread bool
		}{"net+uts", unshare(t, Net|UTS), true})
	}
	sets = append(sets, struct {
		name   string
		set    *Set
		thread bool
	}{"user+net+uts", unshare(t, User|Net|UTS), false})

	first := make(map[string]outcome) // what all must be like
	for _, set := range sets {
		t.Cleanup(func() { set.set.Close() })
		for _, c := range suite {
			t.Run(set.name+"/"+c.name, func(t *testing.T) {
				process := outcomeOf(c.call(context.Background(), set.set, InProcess()))
				thread := process
				if set.thread {
					thread = outcomeOf(c.call(context.Background(), set.set, InThread()))
				} else if _, err := where.Do(context.Background(), set.set, struct{}{}, InThread()); !errors.Is(err, ErrNeedsProcess) {
					t.Errorf("InThread: %v", err)
				}
				if !process.same(thread) {
					t.Errorf("the backends differ:\nthread  %v\nprocess %v", thread, process)
				}
				if f, ok := first[c.name]; !ok {
					first[c.name] = process
				} else if !process.same(f) {
					t.Errorf("the Sets differ:\nbefore %v\nnow    %v", f, process)
				}
				if c.want != nil {
					// What the function says itself, of errors that cross as what they are.
					if want := outcomeOf(c.want()); !process.same(want) {
						t.Errorf("%v\nwant %v", process, want)
					}
				}
				if c.check != nil {
					c.check(t, process)
				}
			})
		}
	}
}

// The result is what the function returned then, not what it changes later.
func TestResultsAreCopies(t *testing.T) {
	testenv.Need(t, testenv.Process)
	s := owned(t)(new(Set), nil)
	for name, opt := range map[string]DoOption{"thread": InThread(), "process": InProcess()} {
		in := map[string][]int{"k": {1, 2}}
		out, err := keepAndChange.Do(context.Background(), s, in, opt)
		if err != nil || !reflect.DeepEqual(out, map[string][]int{"k": {7, 2}}) {
			t.Errorf("%s: %v, %v", name, out, err)
		}
		if !reflect.DeepEqual(in, map[string][]int{"k": {1, 2}}) {
			t.Errorf("%s: the function has changed its caller's argument: %v", name, in)
		}
	}
}

var keepAndChange = Register("test.keep-and-change", func(_ context.Context, m map[string][]int) (map[string][]int, error) {
	m["k"][0] = 7
	return m, nil
})

// Bad input: each a clear error that names what and where, nothing left behind.

var (
	chanIn  = Register("test.chan-in", func(context.Context, struct{ C chan int }) (int, error) { return 0, nil })
	funcOut = Register("test.func-out", func(context.Context, int) (struct{ Hooks []func() }, error) {
		return struct{ Hooks []func() }{}, nil
	})
	parentOnly = func() *Func[int, int] {
		f := &Func[int, int]{name: "test.parent-only"}
		if os.Args[0] != handshake.Name { // version skew: the worker is built without it
			f = Register("test.parent-only", func(_ context.Context, n int) (int, error) { return n, nil })
		}
		return f
	}()
)

func TestBadInputOfRegister(t *testing.T) {
	ok := func(context.Context, int) (int, error) { return 0, nil }
	for name, c := range map[string]struct {
		f    func()
		want string
	}{
		"nil function": {func() { Register[int, int]("test.nil", nil) }, "nil function"},
		"empty name":   {func() { Register("", ok) }, "empty name"},
		"taken name":   {func() { Register("test.where", ok) }, `"test.where"`},
		"long name":    {func() { Register(strings.Repeat("n", wire.MaxName+1), ok) }, fmt.Sprint(wire.MaxName)},
	} {
		func() {
			defer func() {
				if s := fmt.Sprint(recover()); !strings.HasPrefix(s, "gonso: ") || !strings.Contains(s, c.want) {
					t.Errorf("%s: panic %q, want %q in it", name, s, c.want)
				}
			}()
			c.f()
			t.Errorf("%s: no panic", name)
		}()
	}
}

func TestBadInputOfWork(t *testing.T) {
	testenv.Need(t, testenv.Process)
	testenv.Leaks(t)
	s := owned(t)(new(Set), nil)
	ctx := context.Background()
	call := func(f *Func[int, int], ctx context.Context, s *Set, opts ...DoOption) error {
		_, err := f.Do(ctx, s, 1, opts...)
		return err
	}
	var noCtx context.Context
	for _, c := range []struct {
		name  string
		err   error
		is    error
		words []string
	}{
		{"nil closure in Do", s.Do(true, nil), os.ErrInvalid, []string{"do", "nil"}},
		{"nil closure in Run", s.Run(nil), os.ErrInvalid, []string{"run", "nil"}},
		{"nil Func", call(nil, ctx, s), os.ErrInvalid, []string{"call", "nil"}},
		{"nil Set", call(twice, ctx, nil), os.ErrInvalid, []string{"call", "nil"}},
		{"nil ctx", call(twice, noCtx, s), os.ErrInvalid, []string{"call", "nil"}},
		{"nil option", call(twice, ctx, s, nil, InProcess(), nil), nil, nil},
		{"not registered in the worker", call(parentOnly, ctx, s, InProcess()), ErrNotRegistered, []string{"test.parent-only", "knows no function"}},
		{"but here it is", call(parentOnly, ctx, s, InThread()), nil, nil},
	} {
		if c.is == nil {
			if c.err != nil {
				t.Errorf("%s: %v", c.name, c.err)
			}
			continue
		}
		wantError(t, c.name, c.err, c.is, c.words...)
	}
	for _, opts := range [][]DoOption{{InThread()}, {InProcess()}, nil} {
		_, err := chanIn.Do(ctx, s, struct{ C chan int }{}, opts...)
		wantError(t, "channel in In", err, codec.ErrValue, "test.chan-in", "chan int", "C")
		_, err = funcOut.Do(ctx, s, 1, opts...)
		wantError(t, "function in Out", err, codec.ErrValue, "test.func-out", "func()", "Hooks")
	}
	_, err := bigIn.Do(ctx, s, make([]byte, codec.MaxValue), InProcess())
	wantError(t, "argument above the cap", err, codec.ErrTooLarge, "argument", "test.big-in", "67108864")
	// After all that the worker is still good.
	if err := call(twice, ctx, s, InProcess()); err != nil {
		t.Error(err)
	}
}

var bigIn = Register("test.big-in", func(_ context.Context, b []byte) (int, error) { return len(b), nil })

func TestBadInputOfUnshare(t *testing.T) {
	testenv.Leaks(t)
	base := owned(t)(Current())
	own := []IDMap{{0, uint32(os.Geteuid()), 1}}
	for name, c := range map[string]struct {
		types Type
		opts  []UnshareOption
		is    error
		words []string
	}{
		"zero":           {0, nil, os.ErrInvalid, []string{"unshare", "zero Type"}},
		"unknown bits":   {Net | unix.CLONE_VM, nil, os.ErrInvalid, []string{"unshare", "0x100"}},
		"overlapping":    {User, []UnshareOption{IDMaps([]IDMap{{0, 0, 2}, {1, 5, 2}}, own)}, os.ErrInvalid, []string{"uid map", "lines 0 and 1 overlap inside"}},
		"exceeding":      {User, []UnshareOption{IDMaps(own, []IDMap{{0, 1, math.MaxUint32}})}, os.ErrInvalid, []string{"gid map", "past the last id"}},
		"empty":          {User, []UnshareOption{IDMaps(nil, own)}, os.ErrInvalid, []string{"uid map", "no lines"}},
		"count 0":        {User, []UnshareOption{IDMaps([]IDMap{{0, 0, 0}}, own)}, os.ErrInvalid, []string{"uid map", "Size is 0"}},
		"maps, no user":  {Net, []UnshareOption{IDMaps(own, own)}, os.ErrInvalid, []string{"IDMaps needs user", "net"}},
		"groups":         {Net, []UnshareOption{Setgroups(true)}, os.ErrInvalid, []string{"Setgroups needs user"}},
		"propagation":    {Net, []UnshareOption{Propagation(PropagationPrivate)}, os.ErrInvalid, []string{"Propagation needs mnt"}},
		"no propagation": {User | Mount, []UnshareOption{Propagation(200)}, os.ErrInvalid, []string{"Propagation: 200"}},
	} {
		for how, f := range map[string]func(Type, ...UnshareOption) (*Set, error){"function": Unshare, "method": base.Unshare} {
			s, err := f(c.types, c.opts...)
			if s != nil {
				t.Errorf("%s, %s: %v", name, how, s)
			}
			wantError(t, name+", "+how, err, c.is, c.words...)
		}
	}
}

// A call does not end before its function has, whatever becomes of ctx.
func TestDoNeverReturnsWhileFunctionRuns(t *testing.T) {
	testenv.Need(t, testenv.Process)
	testenv.Leaks(t)
	s := owned(t)(new(Set), nil)
	for name, opt := range map[string]DoOption{"thread": InThread(), "process": InProcess()} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			var returned atomic.Bool
			done := make(chan error, 1)
			go func() {
				_, err := stubborn.Do(ctx, s, dir, opt)
				returned.Store(true)
				done <- err
			}()
			exists := func(file string) func() bool {
				return func() bool { _, err := os.Stat(dir + "/" + file); return err == nil }
			}
			testenv.Eventually(t, "the function runs", exists("running"))
			cancel()
			testenv.Eventually(t, "the function saw it", exists("cancelled"))
			if returned.Load() {
				t.Error("Do has returned while the function runs")
			}
			if err := os.WriteFile(dir+"/end", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Errorf("it returned nil, and Do %v", err)
			}
		})
	}
}

// stubborn notices that it is cancelled, goes on until told to end, and returns nil.
var stubborn = Register("test.stubborn", func(ctx context.Context, dir string) (bool, error) {
	err := os.WriteFile(dir+"/running", nil, 0o600)
	<-ctx.Done()
	err = errors.Join(err, os.WriteFile(dir+"/cancelled", nil, 0o600))
	testenv.Poll(func() bool { _, err := os.Stat(dir + "/end"); return err == nil })
	return true, err
})

var suitePID = Register("test.suite-pid", func(context.Context, int) (int, error) { return os.Getpid(), nil })

var bigOut = Register("test.big-out", func(_ context.Context, mib int) (string, error) { return strings.Repeat("x", mib<<20), nil })

// What one result takes of this program's memory is bounded, and its caller alone pays for it.
func TestLargeResultCannotTakeAllMemory(t *testing.T) {
	testenv.Leaks(t)
	ctx := t.Context()
	s := owned(t)(Current())
	pid, err := suitePID.Do(ctx, s, 0, InProcess())
	if err != nil {
		t.Fatal(err)
	}
	for _, opts := range [][]DoOption{{InProcess()}, {Isolated()}} {
		for _, mib := range []int{40, 63} { // one too large to be decoded, one even to be received
			_, err := bigOut.Do(ctx, s, mib, opts...)
			wantError(t, fmt.Sprintf("%d MiB", mib), err, codec.ErrTooLarge, "Worker.MaxResult")
		}
		if got, err := bigOut.Do(ctx, s, 29, opts...); err != nil || len(got) != 29<<20 {
			t.Errorf("29 MiB: %d bytes, %v", len(got), err)
		}
	}
	if again, err := suitePID.Do(ctx, s, 0, InProcess()); err != nil || again != pid {
		t.Errorf("the worker was %d and is %d: %v", pid, again, err)
	}
	more, less := owned(t)(Current()), owned(t)(Current())
	if err := errors.Join(more.SetWorker(Worker{MaxResult: 130 << 20}), less.SetWorker(Worker{MaxResult: 1 << 20})); err != nil {
		t.Fatal(err)
	}
	if got, err := bigOut.Do(ctx, more, 60, InProcess()); err != nil || len(got) != 60<<20 {
		t.Errorf("60 MiB: %d bytes, %v", len(got), err)
	}
	_, err = bigOut.Do(ctx, less, 1, InProcess())
	wantError(t, "1 MiB", err, codec.ErrTooLarge, "Worker.MaxResult")
	for _, bad := range []int64{-1, 161 << 20} {
		wantError(t, "bad", s.SetWorker(Worker{MaxResult: bad}), os.ErrInvalid, "MaxResult")
	}
}
