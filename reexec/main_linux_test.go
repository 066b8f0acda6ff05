package reexec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	mobyreexec "github.com/moby/sys/reexec"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/testenv"
	"github.com/gonso/gonso/internal/wire"
)

// functions are what the workers of these tests can be asked for.
var functions = map[string]child.Handler{
	"pid":  func(context.Context, codec.Value) *wire.Outcome { return returned(strconv.Itoa(os.Getpid())) },
	"echo": func(_ context.Context, in codec.Value) *wire.Outcome { return returned(string(in.Bytes)) },
	"wait": func(ctx context.Context, _ codec.Value) *wire.Outcome { // until it is cancelled
		fmt.Fprintln(os.Stderr, "waiting")
		<-ctx.Done()
		return &wire.Outcome{Kind: wire.Returned, Value: codec.Value{Bytes: []byte("waited")}, Err: context.Cause(ctx)}
	},
	"ignore": func(context.Context, codec.Value) *wire.Outcome { // its context
		fmt.Fprintln(os.Stderr, "ignoring")
		pauseForever()
		return nil
	},
	"pause": func(context.Context, codec.Value) *wire.Outcome {
		pauseForever()
		return nil
	},
	"exit": func(context.Context, codec.Value) *wire.Outcome {
		fmt.Fprintln(os.Stderr, "last words")
		os.Exit(3)
		return nil
	},
	"crash": func(context.Context, codec.Value) *wire.Outcome {
		go crashHere()
		pauseForever()
		return nil
	},
	"print": func(_ context.Context, in codec.Value) *wire.Outcome {
		os.Stderr.Write(in.Bytes)
		return returned("")
	},
	"daemon": func(context.Context, codec.Value) *wire.Outcome { // keeps the worker's stderr
		c := exec.Command("sleep", "600")
		c.Stdout, c.Stderr = os.Stdout, os.Stderr
		if err := c.Start(); err != nil {
			return &wire.Outcome{Kind: wire.Returned, Err: err}
		}
		return returned(strconv.Itoa(c.Process.Pid))
	},
	"environ": func(context.Context, codec.Value) *wire.Outcome {
		return returned(strings.Join(os.Environ(), "\n"))
	},
	"second generation": func(context.Context, codec.Value) *wire.Outcome { // after Init it is allowed
		w := NewWorker(WorkerOptions{})
		defer w.Close()
		out, err := w.Call(context.Background(), "pid", nil)
		if err != nil {
			return &wire.Outcome{Kind: wire.Returned, Err: err}
		}
		return out
	},
}

func returned(s string) *wire.Outcome {
	return &wire.Outcome{Kind: wire.Returned, Value: codec.Value{Bytes: []byte(s)}}
}

func crashHere() { panic("crashed on purpose") }

// pauseForever blocks without being a deadlock to the runtime.
func pauseForever() {
	for {
		unix.Pause()
	}
}

func TestMain(m *testing.M) {
	testenv.Begin()
	mobyreexec.Register(handshake.Name, child.Main)
	for name, f := range functions {
		child.Register(name, f, child.Traits{})
	}
	child.Register("echo on the reader", functions["echo"], child.Traits{Clean: true})
	if mobyreexec.Init() {
		os.Exit(0)
	}
	if Supported() == nil {
		if err := warmUp(); err != nil {
			fmt.Fprintln(os.Stderr, "warming up:", err)
			os.Exit(1)
		}
	}
	before, goroutines := descriptors(), runtime.NumGoroutine()
	code := m.Run()
	if leaked := leaks(before, goroutines); code == 0 && leaked != "" {
		fmt.Fprintln(os.Stderr, leaked)
		code = 1
	}
	os.Exit(code)
}

// warmUp makes what lasts: this program's descriptors, the launcher's image,
// the runtime's poller.
func warmUp() error {
	for _, protect := range []bool{false, true} {
		w := NewWorker(WorkerOptions{Protect: protect})
		_, err := w.Call(context.Background(), "pid", nil)
		w.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func descriptors() map[string]string {
	fds := make(map[string]string)
	dir, _ := os.ReadDir("/proc/self/fd")
	for _, d := range dir {
		if target, err := os.Readlink("/proc/self/fd/" + d.Name()); err == nil {
			fds[d.Name()] = target
		}
	}
	return fds
}

// leaks tells what is there besides what was there before: descriptors,
// children, goroutines, threads in foreign namespaces.
func leaks(before map[string]string, goroutines int) string {
	var b strings.Builder
	for fd, target := range descriptors() {
		if before[fd] == "" {
			fmt.Fprintf(&b, "leaked descriptor %s: %s\n", fd, target)
		}
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		fmt.Fprintf(&b, "leaked child: wait4 gives %d, %v\n", pid, err)
	}
	lasting.Lock()
	goroutines += max(0, lasting.threads-1)
	lasting.Unlock()
	if !poll(func() bool { return runtime.NumGoroutine() <= goroutines }) {
		fmt.Fprintf(&b, "%d goroutines, before %d:\n", runtime.NumGoroutine(), goroutines)
		pprof.Lookup("goroutine").WriteTo(&b, 1)
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/*")
	for _, link := range tasks {
		if strings.HasSuffix(link, "_for_children") {
			continue
		}
		got, err := os.Readlink(link)
		want, _ := os.Readlink("/proc/self/ns/" + filepath.Base(link))
		if err == nil && got != want { // else the thread has ended
			fmt.Fprintf(&b, "%s is %s, of the process %s\n", link, got, want)
		}
	}
	return b.String()
}

// need skips, or fails if this run promises it, where what is missing.
func need(t testing.TB, what string, missing error) {
	t.Helper()
	testenv.Found(t, what, missing)
}

func needProcess(t testing.TB) {
	t.Helper()
	if err := Supported(); err != nil {
		need(t, "process", err)
	}
}

// needUserNS skips where user namespaces cannot be made.
func needUserNS(t testing.TB) {
	t.Helper()
	needProcess(t)
	fs, err := create(t.Context(), &Creation{Unshare: unix.CLONE_NEWUSER})
	sys.CloseFiles(fs)
	need(t, "userns", err)
}

var patience = max(20*time.Second, testenv.Limit)

// poll is for what no event tells of.
func poll(f func() bool) bool {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		if f() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	if !poll(f) {
		t.Fatalf("waited %v until %s", patience, what)
	}
}

// receive fails the test if nothing comes.
func receive[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("waited %v for %s", patience, what)
		panic("unreachable")
	}
}

// alive says whether pid runs: whether pid 1 reaps is not our business.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// heard is a writer whose reader can wait for what is printed.
type heard struct {
	mu    sync.Mutex
	all   bytes.Buffer
	lines chan string
	rest  string
}

func newHeard() *heard { return &heard{lines: make(chan string, 1000)} }

func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all.Write(b)
	h.rest += string(b)
	for {
		line, rest, ok := strings.Cut(h.rest, "\n")
		if !ok {
			h.rest = h.rest[max(0, len(h.rest)-1000):]
			return len(b), nil
		}
		h.rest = rest
		select {
		case h.lines <- line:
		default: // nobody cares for so many
		}
	}
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all.String()
}

// waitFor returns when line was printed n times.
func (h *heard) waitFor(t testing.TB, line string, n int) {
	t.Helper()
	for n > 0 {
		if receive(t, line, h.lines) == line {
			n--
		}
	}
}

// newWorker is NewWorker that is closed with the test and listened to.
func newWorker(t testing.TB, o WorkerOptions) (*Worker, *heard) {
	t.Helper()
	needProcess(t)
	h := newHeard()
	if o.Stderr == nil {
		o.Stderr = h
	}
	w := NewWorker(o)
	t.Cleanup(w.Close)
	return w, h
}

// result is what a Call returned.
type result struct {
	out *wire.Outcome
	err error
}

// Call is Do for a function of a name, with an encoded argument.
func (w *Worker) Call(ctx context.Context, name string, in []byte) (*wire.Outcome, error) {
	return w.Do(ctx, wire.Request{Name: name, Value: codec.Value{Bytes: in}})
}

// CallIsolated is the same for DoIsolated.
func (w *Worker) CallIsolated(ctx context.Context, name string, in []byte) (*wire.Outcome, error) {
	return w.DoIsolated(ctx, wire.Request{Name: name, Value: codec.Value{Bytes: in}})
}

func goCall(ctx context.Context, w *Worker, name, in string) <-chan result {
	c := make(chan result, 1)
	go func() {
		out, err := w.Call(ctx, name, []byte(in))
		c <- result{out, err}
	}()
	return c
}

func mustCall(t testing.TB, w *Worker, name, in string) string {
	t.Helper()
	out, err := w.Call(t.Context(), name, []byte(in))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if out.Kind != wire.Returned || out.Err != nil {
		t.Fatalf("%s: %v, %v", name, out.Kind, out.Err)
	}
	out.Close() // the caller's
	return string(out.Value.Bytes)
}

func workerPID(t testing.TB, w *Worker) int {
	t.Helper()
	pid, err := strconv.Atoi(mustCall(t, w, "pid", ""))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// died asserts that err is a worker's end.
func died(t testing.TB, err error) *DiedError {
	t.Helper()
	var d *DiedError
	if !errors.As(err, &d) || !errors.Is(err, ErrWorkerDied) {
		t.Fatalf("not the end of a worker: %v", err)
	}
	return d
}
