package gonso

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

type streamArgs struct {
	R    io.Reader
	W    io.Writer
	RC   io.ReadCloser
	WC   io.WriteCloser
	List []io.Writer
	Map  map[string]io.Reader
	N    int64
	Say  string
}

var (
	streamCopy = Register("test.stream-copy", func(_ context.Context, a streamArgs) (int64, error) {
		return io.Copy(a.W, a.R)
	})
	streamAll = Register("test.stream-all", func(_ context.Context, a streamArgs) (string, error) {
		for name, w := range map[string]io.Writer{"W": a.W, "WC": a.WC, "L0": a.List[0], "L2": a.List[2]} {
			if _, err := io.WriteString(w, "to "+name); err != nil {
				return "", err
			}
		}
		var got []string
		for _, r := range []io.Reader{a.R, a.RC, a.Map["a"], a.Map["b"]} {
			b, err := io.ReadAll(r)
			if err != nil {
				return "", err
			}
			got = append(got, string(b))
		}
		if a.List[1] != nil || a.Map["nil"] != nil {
			return "", errors.New("nil became a stream")
		}
		return strings.Join(got, " "), errors.Join(a.RC.Close(), a.WC.Close())
	})
	streamSome = Register("test.stream-some", func(_ context.Context, a streamArgs) (int64, error) {
		return io.CopyN(io.Discard, a.R, a.N)
	}, LeavesThreadClean())
	streamSay = Register("test.stream-say", func(_ context.Context, a streamArgs) (int, error) {
		n, err := io.WriteString(a.W, a.Say)
		switch a.Say {
		case "panic":
			panic("on purpose")
		case "kill":
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		case "daemon": // keeps the pipe
			cmd := exec.Command("sleep", "60")
			cmd.Stdout = a.W
			if err := cmd.Start(); err != nil {
				return 0, err
			}
			return cmd.Process.Pid, nil
		}
		return n, err
	})
	streamRoot = Register("test.stream-root", func(_ context.Context, r io.Reader) (string, error) {
		if r == nil {
			return "nil", nil
		}
		b, err := io.ReadAll(r)
		return string(b), err
	})
)

func TestStreamsCrossByPipes(t *testing.T) {
	onBothBackends(t, func(t *testing.T, s *Set, o DoOption) {
		var w, wc, l0, l2 bytes.Buffer
		got, err := streamAll.Do(t.Context(), s, streamArgs{
			R: strings.NewReader("R"), RC: io.NopCloser(strings.NewReader("RC")), W: &w, WC: nopCloser{&wc}, List: []io.Writer{&l0, nil, &l2},
			Map: map[string]io.Reader{"a": strings.NewReader("A"), "b": openedWith(t, "B, a file"), "nil": nil},
		}, o)
		if err != nil || got != "R RC A B, a file" {
			t.Error(got, err)
		}
		if w.String() != "to W" || wc.String() != "to WC" || l0.String() != "to L0" || l2.String() != "to L2" {
			t.Errorf("%q %q %q %q", &w, &wc, &l0, &l2)
		}
		// More than pipes hold, both ways at once.
		big := bytes.Repeat([]byte("0123456789abcdef"), 4<<20/16)
		var back bytes.Buffer
		n, err := streamCopy.Do(t.Context(), s, streamArgs{R: bytes.NewReader(big), W: &back}, o)
		if err != nil || n != int64(len(big)) || !bytes.Equal(back.Bytes(), big) {
			t.Errorf("%d of %d bytes, %v", n, len(big), err)
		}
		for want, r := range map[string]io.Reader{"nil": nil, "root": strings.NewReader("root")} {
			if got, err := streamRoot.Do(t.Context(), s, r, o); err != nil || got != want {
				t.Errorf("%q, %v", got, err)
			}
		}
	})
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// zeros is a reader without end.
type zeros struct{}

func (*zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestStreamErrors(t *testing.T) {
	bad := errors.New("bad medium")
	onBothBackends(t, func(t *testing.T, s *Set, o DoOption) {
		// What is not read is not missed.
		if n, err := streamSome.Do(t.Context(), s, streamArgs{R: &zeros{}, N: 100}, o); err != nil || n != 100 {
			t.Error(n, err)
		}
		// What cannot be read or written is an error, and there are the results all the same.
		n, err := streamCopy.Do(t.Context(), s, streamArgs{R: io.MultiReader(strings.NewReader("abc"), failing{bad}), W: io.Discard}, o)
		if n != 3 || wantMatch(err, bad, "feed reader", "R") != nil {
			t.Error(n, err)
		}
		if _, err := streamCopy.Do(t.Context(), s, streamArgs{R: &zeros{}, W: failing{bad}}, o); wantMatch(err, bad, "drain writer", "W") != nil || !errors.Is(err, unix.EPIPE) {
			t.Error(err)
		}
		var w bytes.Buffer
		_, err = streamSay.Do(t.Context(), s, streamArgs{W: &w, Say: "panic"}, o)
		if _, ok := errors.AsType[*PanicError](err); !ok || w.String() != "panic" {
			t.Errorf("%v, %q", err, &w)
		}
		closed := openedWith(t, "")
		closed.Close()
		if _, err := streamCopy.Do(t.Context(), s, streamArgs{R: closed, W: &w}, o); wantMatch(err, os.ErrClosed, "field R") != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := streamCopy.Do(ctx, s, streamArgs{R: &zeros{}, W: &w}, o); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

// A reader that says nothing does not keep Do, nor does what the function has
// left behind with a writer.
func TestStreamsDoNotKeepDo(t *testing.T) {
	onBothBackends(t, func(t *testing.T, s *Set, o DoOption) {
		if err := s.SetWorker(Worker{Grace: 50 * time.Millisecond}); err != nil {
			t.Fatal(err)
		}
		idle, end := io.Pipe()
		defer end.Close() // ends the goroutine that is left
		var w bytes.Buffer
		var n int
		var err error
		for range 1000 { // the function may be over before a Read has begun
			w.Reset()
			if n, err = streamSay.Do(t.Context(), s, streamArgs{R: idle, W: &w, Say: "quick"}, o, WaitDelay(50*time.Millisecond)); err != nil {
				break
			}
		}
		if wantMatch(err, exec.ErrWaitDelay, "feed reader R", "left behind") != nil || n != 5 || w.String() != "quick" {
			t.Error(n, err)
		}
		w.Reset()
		pid, err := streamSay.Do(t.Context(), s, streamArgs{W: &w, Say: "daemon"}, o)
		if wantMatch(err, os.ErrDeadlineExceeded, "drain writer", "W", "holds the pipe open") != nil || w.String() != "daemon" {
			t.Errorf("%v, %q", err, &w)
		}
		if pid > 0 {
			_ = unix.Kill(pid, unix.SIGKILL)
			if p, err := os.FindProcess(pid); err == nil {
				_, _ = p.Wait() // on the thread backend it is this process's child
			}
		}
		r, stuck := io.Pipe()
		defer r.Close()
		_, err = streamSay.Do(t.Context(), s, streamArgs{W: stuck, Say: "x"}, o, WaitDelay(50*time.Millisecond))
		if wantMatch(err, exec.ErrWaitDelay, "drain writer W", "left behind") != nil {
			t.Error(err)
		}
		if _, err := streamSay.Do(t.Context(), s, streamArgs{}, o, WaitDelay(-1)); wantMatch(err, os.ErrInvalid, "WaitDelay") != nil {
			t.Error(err)
		}
	})
}

// A function that waits for a reader or writer, and does not look at its context, returns when that has ended, as one
// that waits for a channel does. Its worker is not killed.
func TestIdleStreamCannotKeepAFunctionAfterItsContext(t *testing.T) {
	onBothBackends(t, func(t *testing.T, s *Set, o DoOption) {
		if err := s.SetWorker(Worker{Grace: time.Second}); err != nil {
			t.Fatal(err)
		}
		idle, end := io.Pipe()
		defer end.Close() // ends the goroutine that is left
		for name, r := range map[string]io.Reader{"reader": io.MultiReader(strings.NewReader("x"), idle), "writer": &zeros{}} {
			out, w := io.Pipe()
			defer out.Close()
			ctx, cancel := context.WithCancel(t.Context())
			returned := make(chan error, 1)
			go func() {
				_, err := streamCopy.Do(ctx, s, streamArgs{R: r, W: w}, o, WaitDelay(50*time.Millisecond))
				returned <- err
			}()
			if _, err := out.Read(make([]byte, 1)); err != nil { // the function copies
				t.Fatal(err)
			}
			cancel()
			select {
			case err := <-returned:
				if !errors.Is(err, context.Canceled) || !errors.Is(err, exec.ErrWaitDelay) || errors.Is(err, ErrWorkerDied) {
					t.Errorf("%s: %v", name, err)
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("%s: Do does not return", name)
			}
		}
	})
}

// Found in code with a sync.Pool of bufio.Readers: a Read that goes on after the call takes what the next user of the
// reader is to read.
func TestReadersAndWritersAreTheCallersAgainAfterDo(t *testing.T) {
	onBothBackends(t, func(t *testing.T, s *Set, o DoOption) {
		for _, args := range []func(b *busy) streamArgs{
			func(b *busy) streamArgs { return streamArgs{R: b, W: io.Discard, Say: "quick"} },
			func(b *busy) streamArgs { return streamArgs{W: b, Say: "x"} },
		} {
			for _, cancelled := range []bool{false, true} {
				for !staysInUse(t, s, o, args, cancelled) { // the function was over before a Read began
				}
			}
		}
	})
}

// staysInUse reports whether a Read or Write was under way when the function returned, and fails the
// test if Do did not wait for it.
func staysInUse(t *testing.T, s *Set, o DoOption, args func(b *busy) streamArgs, cancelled bool) bool {
	t.Helper()
	b := &busy{begun: make(chan struct{}), end: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	returned := make(chan error, 1)
	go func() {
		_, err := streamSay.Do(ctx, s, args(b), o)
		b.used = false // by the next user, which the race detector sees
		returned <- err
	}()
	select {
	case <-b.begun:
	case err := <-returned:
		if err != nil {
			t.Fatal(err)
		}
		return false
	}
	if cancelled {
		cancel()
	}
	select {
	case err := <-returned:
		t.Errorf("cancelled %v: Do has returned, and it is in use: %v", cancelled, err)
		returned <- err
	case <-time.After(300 * time.Millisecond): // of waiting for what must not come
	}
	close(b.end)
	if err := <-returned; err != nil && !cancelled {
		t.Error(err)
	}
	return true
}

// busy is a reader and a writer whose first Read or Write takes until its end.
type busy struct {
	begun, end chan struct{}
	once       sync.Once
	used       bool
}

func (b *busy) use() {
	b.once.Do(func() { close(b.begun) })
	<-b.end
	b.used = true
}

func (b *busy) Read([]byte) (int, error) {
	b.use()
	return 0, io.EOF
}

func (b *busy) Write(p []byte) (int, error) {
	b.use()
	return len(p), nil
}

func TestStreamsOfAWorkerThatDies(t *testing.T) {
	testenv.Need(t, testenv.Process)
	testenv.Leaks(t)
	s := owned(t)(new(Set), nil)
	var w bytes.Buffer
	_, err := streamSay.Do(t.Context(), s, streamArgs{R: &zeros{}, W: &w, Say: "kill"}, InProcess())
	if !errors.Is(err, ErrWorkerDied) || w.String() != "kill" {
		t.Errorf("%v, %q", err, &w)
	}
}

func onBothBackends(t *testing.T, f func(t *testing.T, s *Set, o DoOption)) {
	t.Helper()
	testenv.Need(t, testenv.Process)
	for name, o := range map[string]DoOption{"thread": InThread(), "process": InProcess()} {
		t.Run(name, func(t *testing.T) {
			testenv.Leaks(t)
			f(t, owned(t)(new(Set), nil), o)
		})
	}
}

func openedWith(t testing.TB, content string) *os.File {
	t.Helper()
	name := t.TempDir() + "/file"
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func wantMatch(err, is error, words ...string) error {
	if !errors.Is(err, is) {
		return fmt.Errorf("%w does not match %w", err, is)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			return fmt.Errorf("%w does not say %q", err, w)
		}
	}
	return nil
}
