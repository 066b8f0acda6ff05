package child

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/testenv"
	"github.com/gonso/gonso/internal/wire"
)

func TestMain(m *testing.M) {
	testenv.Begin()
	os.Exit(m.Run())
}

func init() { testenv.Program("worker", workerMain) }

// workerMain calls Main, as Init would.
func workerMain() {
	fmt.Fprintf(os.Stderr, "pending %v\n", handshake.Pending())
	Register("echo", func(_ context.Context, in codec.Value) *wire.Outcome {
		fmt.Fprintf(os.Stderr, "pending %v\n", handshake.Pending())
		return &wire.Outcome{Kind: wire.Returned, Value: codec.Value{Bytes: in.Bytes}}
	}, Traits{})
	Register("wait", func(ctx context.Context, _ codec.Value) *wire.Outcome {
		<-ctx.Done()
		return &wire.Outcome{Kind: wire.Returned, Err: context.Cause(ctx)}
	}, Traits{})
	Register("large", func(context.Context, codec.Value) *wire.Outcome {
		return &wire.Outcome{Kind: wire.Returned, Value: codec.Value{Bytes: make([]byte, codec.MaxValue+1)}}
	}, Traits{})
	registerKinds("clean ", Traits{Clean: true})
	registerKinds("own ", Traits{})
	Main()
}

// registerKinds registers what a function can do to who reads.
func registerKinds(prefix string, traits Traits) {
	register := func(name string, h Handler) { Register(name, h, traits) }
	returned := func() *wire.Outcome { return &wire.Outcome{Kind: wire.Returned} }
	register(prefix+"echo", func(_ context.Context, in codec.Value) *wire.Outcome {
		return &wire.Outcome{Kind: wire.Returned, Value: codec.Value{Bytes: in.Bytes}}
	})
	register(prefix+"wait", func(ctx context.Context, _ codec.Value) *wire.Outcome {
		<-ctx.Done()
		return &wire.Outcome{Kind: wire.Returned, Err: context.Cause(ctx)}
	})
	register(prefix+"wait if told", func(ctx context.Context, in codec.Value) *wire.Outcome {
		if len(in.Bytes) > 0 {
			<-ctx.Done()
		}
		return returned()
	})
	register(prefix+"exit", func(context.Context, codec.Value) *wire.Outcome {
		runtime.Goexit()
		return nil
	})
	register(prefix+"panic", func(context.Context, codec.Value) *wire.Outcome { panic("on purpose") })
	two := make(chan struct{})
	register(prefix+"meet", func(ctx context.Context, _ codec.Value) *wire.Outcome { // another one
		select {
		case two <- struct{}{}:
		case <-two:
		case <-ctx.Done():
			return &wire.Outcome{Kind: wire.Returned, Err: context.Cause(ctx)}
		}
		return returned()
	})
	// The name of a thread stands for its namespaces: threads that it makes have it too.
	const tainted = "tainted"
	register(prefix+"taint", func(context.Context, codec.Value) *wire.Outcome {
		comm, err := os.ReadFile("/proc/thread-self/comm")
		if err != nil || string(comm) == tainted+"\n" {
			return &wire.Outcome{Kind: wire.Returned, Err: fmt.Errorf("the thread was %q: %v", comm, err)}
		}
		for range 3 { // as often as it may
			runtime.UnlockOSThread()
		}
		name, err := unix.BytePtrFromString(tainted)
		if err == nil {
			err = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)), 0, 0, 0)
		}
		tid := unix.Gettid()
		for range 100 {
			runtime.Gosched()
		}
		if now := unix.Gettid(); err == nil && now != tid {
			err = fmt.Errorf("it went from thread %d to %d", tid, now)
		}
		return &wire.Outcome{Kind: wire.Returned, Err: err}
	})
}

func panics(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

// A mistake in the program, found when it starts.
func TestRegisterRefuses(t *testing.T) {
	h := func(context.Context, codec.Value) *wire.Outcome { return nil }
	t.Cleanup(func() { // for another -count
		registry.Lock()
		defer registry.Unlock()
		clear(registry.functions)
	})
	Register("child.taken", h, Traits{})
	for name, want := range map[string]string{
		"":                                  "empty name",
		"child.taken":                       `already under the name "child.taken"`,
		strings.Repeat("x", wire.MaxName+1): "longer than",
	} {
		if got := fmt.Sprint(panics(func() { Register(name, h, Traits{}) })); !strings.Contains(got, want) {
			t.Errorf("%.20q: %s, want %s", name, got, want)
		}
	}
	if v := panics(func() { Register(strings.Repeat("x", wire.MaxName), h, Traits{}) }); v != nil {
		t.Error(v)
	}
	if lookup("child.taken") == nil || lookup("child.other") != nil {
		t.Error("lookup finds something else")
	}
}

// However a function ends, its outcome is told once.
func TestInvoke(t *testing.T) {
	mine := errors.New("mine")
	for name, tt := range map[string]struct {
		h    Handler
		kind wire.OutcomeKind
	}{
		"returns": {func(context.Context, codec.Value) *wire.Outcome {
			return &wire.Outcome{Kind: wire.Returned, Err: mine}
		}, wire.Returned},
		"panics":          {func(context.Context, codec.Value) *wire.Outcome { panic(mine) }, wire.Panicked},
		"panics with nil": {func(context.Context, codec.Value) *wire.Outcome { panic(nil) }, wire.Panicked},
		"exits":           {func(context.Context, codec.Value) *wire.Outcome { new(testing.T).FailNow(); return nil }, wire.Goexited},
	} {
		outcomes := make(chan *wire.Outcome, 2)
		over := make(chan struct{})
		go func() {
			defer close(over)
			Invoke(t.Context(), tt.h, codec.Value{}, func(o *wire.Outcome) { outcomes <- o })
		}()
		<-over
		if len(outcomes) != 1 {
			t.Fatalf("%s: %d outcomes", name, len(outcomes))
		}
		o := <-outcomes
		if o.Kind != tt.kind {
			t.Errorf("%s: %v, want %v", name, o.Kind, tt.kind)
		}
		if name == "returns" && o.Err != mine || name == "panics" && (o.Panic.Value != mine || !bytes.Contains(o.Panic.Stack, []byte("TestInvoke"))) {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

func TestMainRefusesProcessesThatAreNoWorkers(t *testing.T) {
	if handshake.Pending() {
		t.Error("the test itself is pending")
	}
	c := testenv.Command(t, "worker")
	out, err := c.CombinedOutput()
	var ee *exec.ExitError
	if !errors.As(err, &ee) || ee.ExitCode() != 126 || !strings.Contains(string(out), "not started as a worker") || !strings.Contains(string(out), "pending false") {
		t.Errorf("%v\n%s", err, out)
	}
}

// worker is a real one, to which the test is the parent.
type worker struct {
	*exec.Cmd
	conn   *wire.Conn
	stderr bytes.Buffer
}

func startWorker(t *testing.T) *worker {
	t.Helper()
	conn, sock, err := wire.Pair()
	if err != nil {
		t.Fatal(err)
	}
	w := &worker{conn: conn, Cmd: testenv.Command(t, "worker")}
	w.Args = []string{handshake.Name}
	w.ExtraFiles = []*os.File{sock}
	w.Stderr = &w.stderr
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	sock.Close()
	t.Cleanup(func() {
		conn.Close()
		w.Process.Kill()
		w.Wait()
	})
	for _, want := range []wire.FrameType{wire.Alive, wire.Ready} {
		h, err := wire.ParseHello(w.read(t, want).Payload)
		if err != nil || int(h.PID) != w.Process.Pid {
			t.Fatalf("%+v, %v", h, err)
		}
	}
	return w
}

func (w *worker) read(t *testing.T, want wire.FrameType) wire.Frame {
	t.Helper()
	f, err := w.conn.Read()
	if err != nil || f.Type != want {
		t.Fatalf("%v %d, %v; want %v", f.Type, f.ID, err, want)
	}
	return f
}

func (w *worker) send(t *testing.T, f wire.Frame, err error) {
	t.Helper()
	if err := errors.Join(err, w.conn.Write(&f)); err != nil {
		t.Fatal(err)
	}
}

func (w *worker) call(t *testing.T, id uint64, r wire.Request) {
	t.Helper()
	f, err := r.Frame(id)
	w.send(t, f, err)
}

func (w *worker) outcome(t *testing.T, id uint64) *wire.Outcome {
	t.Helper()
	f := w.read(t, wire.Result)
	if f.ID != id {
		t.Fatalf("an answer to call %d, want %d", f.ID, id)
	}
	o, err := wire.ParseOutcome(f)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// end waits for the worker's end.
func (w *worker) end(t *testing.T, exit int) string {
	t.Helper()
	w.Wait()
	if got := w.ProcessState.ExitCode(); got != exit {
		t.Errorf("%v, want exit status %d: %s", w.ProcessState, exit, &w.stderr)
	}
	return w.stderr.String()
}

func (w *worker) descriptors(t *testing.T) string {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, fd := range fds {
		names = append(names, fd.Name())
	}
	return strings.Join(names, " ")
}

func TestServing(t *testing.T) {
	w := startWorker(t)
	w.call(t, 1, wire.Request{Name: "wait"})
	w.call(t, 2, wire.Request{Name: "echo", Value: codec.Value{Bytes: []byte("in")}})
	if o := w.outcome(t, 2); o.Kind != wire.Returned || string(o.Value.Bytes) != "in" {
		t.Errorf("%+v", o)
	}
	w.call(t, 3, wire.Request{Name: "nobody"})
	if o := w.outcome(t, 3); o.Kind != wire.NotRegistered {
		t.Errorf("%+v", o)
	}
	w.call(t, 4, wire.Request{Name: "large"})
	if o := w.outcome(t, 4); o.Kind != wire.Unserved || !errors.Is(o.Err, codec.ErrTooLarge) && !strings.Contains(o.Err.Error(), "exceeds the limit") {
		t.Errorf("%v, %v", o.Kind, o.Err)
	}
	w.send(t, wire.Frame{Type: wire.Cancel, ID: 99}, nil) // it ended meanwhile
	w.send(t, wire.Frame{Type: wire.Cancel, ID: 1}, nil)
	if o := w.outcome(t, 1); !errors.Is(o.Err, context.Canceled) {
		t.Errorf("%+v", o)
	}
	w.call(t, 5, wire.Request{Name: "wait", Deadline: time.Unix(1, 0)}) // which is the parent's affair
	w.send(t, wire.Frame{Type: wire.Expire, ID: 5}, nil)
	if o := w.outcome(t, 5); !errors.Is(o.Err, context.DeadlineExceeded) {
		t.Errorf("%+v", o)
	}
	w.conn.Close()
	if printed := w.end(t, 0); printed != "pending true\npending false\n" {
		t.Errorf("it printed %s", printed)
	}
}

// Functions run on the goroutine that reads. A call that takes long, ends its
// goroutine or waits for another one must not stop the reading.
func TestFunctionCannotStopTheReading(t *testing.T) {
	for _, prefix := range []string{"clean ", "own "} {
		t.Run(prefix, func(t *testing.T) { cannotStopTheReading(t, prefix) })
	}
}

func cannotStopTheReading(t *testing.T, prefix string) {
	w := startWorker(t)
	id := uint64(0)
	call := func(name string) uint64 {
		id++
		w.call(t, id, wire.Request{Name: prefix + name, Value: codec.Value{Bytes: []byte(name)}})
		return id
	}
	alone := func() {
		t.Helper()
		if o := w.outcome(t, call("echo")); o.Kind != wire.Returned || string(o.Value.Bytes) != "echo" {
			t.Errorf("%+v", o)
		}
	}
	for range 3 {
		alone()
		wait := call("wait")
		if o := w.outcome(t, call("echo")); o.Kind != wire.Returned {
			t.Errorf("%+v", o)
		}
		w.send(t, wire.Frame{Type: wire.Cancel, ID: wait}, nil)
		if o := w.outcome(t, wait); !errors.Is(o.Err, context.Canceled) {
			t.Errorf("%+v", o)
		}
		alone()
		if o := w.outcome(t, call("exit")); o.Kind != wire.Goexited {
			t.Errorf("%+v", o)
		}
		alone()
		if o := w.outcome(t, call("panic")); o.Kind != wire.Panicked {
			t.Errorf("%+v", o)
		}
		alone()
		first, second := call("meet"), call("meet")
		answers := map[uint64]bool{}
		for range 2 {
			f := w.read(t, wire.Result)
			o, err := wire.ParseOutcome(f)
			if err != nil || o.Err != nil {
				t.Errorf("%v, %v", o, err)
			}
			answers[f.ID] = true
		}
		if !answers[first] || !answers[second] {
			t.Errorf("answers: %v", answers)
		}
	}
	w.conn.Close()
	w.end(t, 0)
}

// Answers to calls that came together go out together. But an answer waits neither for a function
// that may take long, nor for one that took a short time up to now.
func TestAnswerCannotWaitForAnotherFunction(t *testing.T) {
	w := startWorker(t)
	for _, name := range []string{"clean wait", "clean wait if told", "own wait if told"} {
		const quick = 20
		for id := range uint64(quick) {
			w.call(t, id, wire.Request{Name: "clean wait if told"})
			w.outcome(t, id)
		}
		// A stopped worker reads at once what comes meanwhile.
		if err := w.Process.Signal(unix.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for id := range uint64(quick) {
			w.call(t, id, wire.Request{Name: "clean wait if told"})
		}
		w.call(t, quick, wire.Request{Name: name, Value: codec.Value{Bytes: []byte("wait")}})
		if err := w.Process.Signal(unix.SIGCONT); err != nil {
			t.Fatal(err)
		}
		seen := make(map[uint64]bool)
		for range quick {
			seen[w.read(t, wire.Result).ID] = true
		}
		if len(seen) != quick || seen[quick] {
			t.Errorf("answers: %v", seen)
		}
		w.send(t, wire.Frame{Type: wire.Cancel, ID: quick}, nil)
		w.outcome(t, quick)
	}
	w.conn.Close()
	w.end(t, 0)
}

// The thread of a call ends with it, whoever read it, and however often the
// function lets go of it.
func TestCallsCannotShareAThread(t *testing.T) {
	w := startWorker(t)
	id := uint64(0)
	for range 50 {
		id++
		w.call(t, id, wire.Request{Name: "own taint"})
		if o := w.outcome(t, id); o.Kind != wire.Returned || o.Err != nil {
			t.Fatalf("%+v", o)
		}
	}
	const atOnce = 16
	for range 10 {
		for range atOnce {
			id++
			w.call(t, id, wire.Request{Name: "own taint"})
		}
		for range atOnce {
			f := w.read(t, wire.Result)
			if o, err := wire.ParseOutcome(f); err != nil || o.Kind != wire.Returned || o.Err != nil {
				t.Fatalf("%+v, %v", o, err)
			}
		}
	}
	w.conn.Close()
	w.end(t, 0)
}

// The end of the socket ends the worker also while its reader runs a function.
func TestWorkerEndsWhileItsReaderIsBusy(t *testing.T) {
	w := startWorker(t)
	w.call(t, 1, wire.Request{Name: "clean wait"})
	w.conn.Close()
	w.end(t, 0)
}

// What no parent sends ends the worker, and so does the end of the socket in the
// middle of a call.
func TestWorkerEnds(t *testing.T) {
	t.Run("parent gone", func(t *testing.T) {
		w := startWorker(t)
		w.call(t, 1, wire.Request{Name: "wait"})
		w.conn.Close()
		w.end(t, 0)
	})
	t.Run("a worker's frame", func(t *testing.T) {
		w := startWorker(t)
		o := wire.Outcome{Kind: wire.Returned}
		f, err := o.Frame(1)
		w.send(t, f, err)
		if printed := w.end(t, 1); !strings.Contains(printed, "from the parent") {
			t.Errorf("it printed %s", printed)
		}
	})
	t.Run("a request cut short", func(t *testing.T) {
		w := startWorker(t)
		w.send(t, wire.Frame{Type: wire.Call, ID: 1, Payload: []byte{200}}, nil)
		if printed := w.end(t, 1); !strings.Contains(printed, "gonso: worker: ") {
			t.Errorf("it printed %s", printed)
		}
	})
	t.Run("files that it did not ask for", func(t *testing.T) {
		w := startWorker(t)
		w.call(t, 1, wire.Request{Name: "echo"})
		w.outcome(t, 1)
		before := w.descriptors(t)
		f, err := (&wire.Request{Name: "echo"}).Frame(2)
		f.Files = []*os.File{os.Stdin, os.Stdin}
		w.send(t, f, err)
		if o := w.outcome(t, 2); o.Kind != wire.Returned {
			t.Errorf("%+v", o)
		}
		if after := w.descriptors(t); after != before {
			t.Errorf("it has descriptors %s, had %s", after, before)
		}
		w.conn.Close()
		w.end(t, 0)
	})
}

// Its children must get no end of the connection, or it would not end with its parent.
func TestEndsAreCloseOnExec(t *testing.T) {
	w := startWorker(t)
	dir := fmt.Sprintf("/proc/%d/fdinfo", w.Process.Pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	ends := 0
	for _, e := range entries {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", w.Process.Pid, e.Name()))
		if err != nil || e.Name() <= "2" && len(e.Name()) == 1 || !strings.HasPrefix(to, "socket:") && !strings.HasPrefix(to, "pipe:") {
			continue
		}
		if same, _ := os.Readlink("/proc/self/fd/" + e.Name()); same == to {
			continue // the test has inherited that, too
		}
		ends++
		info, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		var flags int
		for line := range strings.Lines(string(info)) {
			fmt.Sscanf(line, "flags: %o", &flags)
		}
		if flags&unix.O_CLOEXEC == 0 {
			t.Errorf("%s, %s: flags %#o", e.Name(), to, flags)
		}
	}
	if ends != 3 {
		t.Errorf("%d ends among %v", ends, w.descriptors(t))
	}
}
