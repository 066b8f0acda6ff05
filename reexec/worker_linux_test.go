package reexec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/testenv"
	"github.com/gonso/gonso/internal/wire"
)

func TestWorkerStaysWarm(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	pid := workerPID(t, w)
	for range 3 {
		if again := workerPID(t, w); again != pid {
			t.Errorf("pid %d, then %d", pid, again)
		}
	}
	// Ctrl-C is the parent's affair.
	if group, err := unix.Getpgid(pid); err != nil || group != pid {
		t.Errorf("process group %d of %d, %v", group, pid, err)
	}
	// And so is his terminal (CVE-2017-5226).
	if session, err := unix.Getsid(pid); err != nil || session != pid {
		t.Errorf("session %d of %d, %v", session, pid, err)
	}
	w.Close()
	if alive(pid) {
		t.Error("it is there after Close")
	}
	if _, err := w.Call(t.Context(), "pid", nil); !errors.Is(err, ErrWorkerClosed) {
		t.Errorf("Call after Close: %v", err)
	}
	w.Close()
}

// Many that come at once wait for one start.
func TestConcurrentFirstCallsStartOneWorker(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	var calls []<-chan result
	for range 64 {
		calls = append(calls, goCall(t.Context(), w, "pid", ""))
	}
	pids := make(map[string]bool)
	for _, c := range calls {
		r := receive(t, "a call", c)
		if r.err != nil {
			t.Fatal(r.err)
		}
		pids[string(r.out.Value.Bytes)] = true
	}
	if len(pids) != 1 {
		t.Errorf("workers: %v", pids)
	}
}

func TestUnknownFunction(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	out, err := w.Call(t.Context(), "no such function", nil)
	if err != nil || out.Kind != wire.NotRegistered {
		t.Errorf("%+v, %v", out, err)
	}
	workerPID(t, w)
}

// vishvananda/netns#43, CVE-2024-21626: the worker gets the ends of its connection
// and standard streams, whatever this process has open, CLOEXEC or not.
func TestWorkerCannotInheritDescriptors(t *testing.T) {
	needUserNS(t)
	fs, err := create(t.Context(), ownUser())
	if err != nil {
		t.Fatal(err)
	}
	defer sys.CloseFiles(fs)
	dir, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0) // inheritable
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	for name, joins := range map[string][]Join{"joined nothing": nil, "joined": {{Type: unix.CLONE_NEWUSER, File: fs[0]}}} {
		for _, protect := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, protect %v", name, protect), func(t *testing.T) {
				w, _ := newWorker(t, WorkerOptions{Join: joins, Protect: protect})
				got := strings.Fields(mustCall(t, w, "descriptors", ""))
				slices.Sort(got)
				// The runtime's poller, its files of cgroups and package procfs's /proc are the worker's own.
				want := []string{"0=/dev/null", "1=pipe:", "2=pipe:", "3=socket:", "in=pipe:", "out=pipe:", "anon_inode:[eventpoll]", "anon_inode:[eventfd]", "/sys/fs/cgroup/"}
				for _, g := range got {
					if !strings.HasSuffix(g, "=/proc") && !slices.ContainsFunc(want, func(w string) bool { return strings.Contains(g, w) }) {
						t.Errorf("the worker has %s among %v", g, got)
					}
				}
				if !strings.Contains(strings.Join(got, " "), " 3=socket:") {
					t.Errorf("descriptors %v", got)
				}
				if got := mustCall(t, w, "inherited", ""); !strings.HasPrefix(got, "0=/dev/null 1=pipe:") || strings.Contains(got, "3=") {
					t.Errorf("its children get %s", got)
				}
			})
		}
	}
}

func init() {
	functions["descriptors"] = func(context.Context, codec.Value) *wire.Outcome {
		var b strings.Builder
		ends := map[string]string{strconv.Itoa(child.Ends.In): "in", strconv.Itoa(child.Ends.Out): "out"}
		for fd, target := range descriptors() {
			if name := ends[fd]; name != "" {
				fd = name
			}
			if !strings.HasPrefix(target, "/proc/") { // the one that lists
				fmt.Fprintf(&b, "%s=%s ", fd, target)
			}
		}
		return returned(b.String())
	}
	functions["inherited"] = func(context.Context, codec.Value) *wire.Outcome {
		var b strings.Builder
		for fd := range 64 {
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
				target, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
				fmt.Fprintf(&b, "%d=%s ", fd, target)
			}
		}
		return returned(b.String())
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("GONSO_TEST_TOKEN", "secret")
	t.Setenv("GOTRACEBACK", "all")
	if got := Environment(false); !slices.Equal(got, os.Environ()) {
		t.Errorf("without protection: %v", got)
	}
	got := Environment(true)
	if !slices.Contains(got, "GOTRACEBACK=all") {
		t.Errorf("what concerns the runtime is gone: %v", got)
	}
	for _, kv := range got {
		if strings.Contains(kv, "secret") || strings.HasPrefix(kv, "HOME=") {
			t.Errorf("%s gets inside", kv)
		}
	}
	for _, protect := range []bool{false, true} {
		w, _ := newWorker(t, WorkerOptions{Protect: protect})
		if got := mustCall(t, w, "environ", ""); strings.Contains(got, "secret") == protect || !strings.Contains(got, "GOTRACEBACK=all") {
			t.Errorf("protect %v: the worker has\n%s", protect, got)
		}
	}
}

func TestDeadWorkerIsReplaced(t *testing.T) {
	w, heard := newWorker(t, WorkerOptions{})
	pid := workerPID(t, w)
	var calls []<-chan result
	for range 3 {
		calls = append(calls, goCall(t.Context(), w, "wait", ""))
	}
	heard.waitFor(t, "waiting", 3)
	mustCall(t, w, "print", "its last words\n")
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for _, c := range calls {
		d := died(t, receive(t, "a call", c).err)
		if d.Status != "signal: killed" || !strings.Contains(d.Stderr, "its last words") || d.Cause != nil {
			t.Errorf("status %q, stderr %q, cause %v", d.Status, d.Stderr, d.Cause)
		}
	}
	if again := workerPID(t, w); again == pid {
		t.Error("the dead answered")
	}
}

func TestFunctionsThatEndTheWorker(t *testing.T) {
	for _, tt := range []struct {
		name, status string
		stderr       []string
	}{
		{"exit", "exit status 3", []string{"last words"}},
		{"crash", "exit status 2", []string{"panic: crashed on purpose", "reexec.crashHere", "goroutine"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, heard := newWorker(t, WorkerOptions{})
			_, err := w.Call(t.Context(), tt.name, nil)
			d := died(t, err)
			if d.Status != tt.status {
				t.Errorf("status %q, want %q", d.Status, tt.status)
			}
			for _, s := range tt.stderr {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("no %q in the error: %v", s, err)
				}
				if !strings.Contains(heard.String(), s) {
					t.Errorf("no %q was passed on: %s", s, heard)
				}
			}
			workerPID(t, w)
		})
	}
}

func TestCancelReachesTheFunction(t *testing.T) {
	w, heard := newWorker(t, WorkerOptions{})
	pid := workerPID(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	c := goCall(ctx, w, "wait", "")
	heard.waitFor(t, "waiting", 1)
	cancel()
	r := receive(t, "the call", c)
	if r.err != nil || string(r.out.Value.Bytes) != "waited" || !errors.Is(r.out.Err, context.Canceled) {
		t.Errorf("%+v, %v", r.out, r.err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	r = receive(t, "the call", goCall(ctx, w, "wait", ""))
	if r.err == nil && !errors.Is(r.out.Err, context.DeadlineExceeded) || r.err != nil && !errors.Is(r.err, context.DeadlineExceeded) {
		t.Errorf("%+v, %v", r.out, r.err)
	}
	if again := workerPID(t, w); again != pid {
		t.Error("it was replaced")
	}
	<-ctx.Done() // the function's own may have ended first
	if _, err := w.Call(ctx, "pid", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
}

// A function alone in its worker is killed with it after the grace period.
func TestFunctionThatIgnoresItsContextIsKilled(t *testing.T) {
	w, heard := newWorker(t, WorkerOptions{Grace: 50 * time.Millisecond})
	pid := workerPID(t, w)
	ctx, cancel := context.WithCancel(t.Context())
	c := goCall(ctx, w, "ignore", "")
	heard.waitFor(t, "ignoring", 1)
	cancel()
	r := receive(t, "the call", c)
	d := died(t, r.err)
	if !errors.Is(r.err, context.Canceled) || d.Status != "signal: killed" || !strings.Contains(r.err.Error(), "did not return after its context was cancelled") {
		t.Error(r.err)
	}
	if alive(pid) {
		t.Error("the worker is still there")
	}
	workerPID(t, w)
}

// Others in the same worker finish, and new calls go to a new one.
func TestKillingOneFunctionLetsOthersFinish(t *testing.T) {
	w, heard := newWorker(t, WorkerOptions{Grace: time.Second})
	pid := workerPID(t, w)
	badCtx, cancelBad := context.WithCancel(t.Context())
	goodCtx, cancelGood := context.WithCancel(t.Context())
	defer cancelGood()
	bad := goCall(badCtx, w, "ignore", "")
	heard.waitFor(t, "ignoring", 1)
	good := goCall(goodCtx, w, "wait", "")
	heard.waitFor(t, "waiting", 1)
	cancelBad()
	eventually(t, "the worker takes no new calls", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.current == nil
	})
	if again := workerPID(t, w); again == pid {
		t.Error("a new call went to the worker that was given up")
	}
	select {
	case r := <-bad:
		t.Errorf("killed before the other one finished: %v", r.err)
	default:
	}
	cancelGood()
	if r := receive(t, "the good call", good); r.err != nil || string(r.out.Value.Bytes) != "waited" {
		t.Errorf("the good call: %v", r.err)
	}
	r := receive(t, "the bad call", bad)
	died(t, r.err)
	if !errors.Is(r.err, context.Canceled) {
		t.Error(r.err)
	}
	if alive(pid) {
		t.Error("the worker is still there")
	}
}

// The others' time is bounded too.
func TestOthersCannotKeepAGivenUpWorkerForEver(t *testing.T) {
	w, heard := newWorker(t, WorkerOptions{Grace: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	bad := goCall(ctx, w, "ignore", "")
	heard.waitFor(t, "ignoring", 1)
	other := goCall(t.Context(), w, "ignore", "")
	heard.waitFor(t, "ignoring", 1)
	cancel()
	if r := receive(t, "the cancelled call", bad); !errors.Is(r.err, context.Canceled) || !errors.Is(r.err, ErrWorkerDied) || strings.Contains(r.err.Error(), "another") {
		t.Error(r.err)
	}
	if r := receive(t, "the other call", other); errors.Is(r.err, context.Canceled) || !errors.Is(r.err, ErrWorkerDied) || !strings.Contains(r.err.Error(), "another call's function did not return") || !strings.Contains(r.err.Error(), "may be retried") {
		t.Error(r.err)
	}
}

func TestIdleWorkerEndsAndComesBack(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{Idle: 20 * time.Millisecond})
	pid := workerPID(t, w)
	eventually(t, "the idle worker ends", func() bool { return !alive(pid) })
	if again := workerPID(t, w); again == pid {
		t.Error("it did not end")
	}
}

func TestBusyWorkerIsNotIdle(t *testing.T) {
	w, heard := newWorker(t, WorkerOptions{Idle: 20 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	c := goCall(ctx, w, "wait", "")
	heard.waitFor(t, "waiting", 1)
	w.mu.Lock()
	p := w.current
	w.mu.Unlock()
	p.idleEnd() // whenever the timer fires
	select {
	case <-p.ended:
		t.Error("ended in the middle of a call")
	case r := <-c:
		t.Errorf("%v", r.err)
	case <-time.After(100 * time.Millisecond):
	}
	cancel()
	if r := receive(t, "the call", c); r.err != nil {
		t.Error(r.err)
	}
	receive(t, "the end", p.ended)
}

func TestCloseCancelsAndWaits(t *testing.T) {
	w, heard := newWorker(t, WorkerOptions{})
	pid := workerPID(t, w)
	c := goCall(t.Context(), w, "wait", "")
	heard.waitFor(t, "waiting", 1)
	w.Close()
	if alive(pid) {
		t.Error("the worker is there after Close")
	}
	r := receive(t, "the call", c)
	if r.err != nil || string(r.out.Value.Bytes) != "waited" || !errors.Is(r.out.Err, context.Canceled) {
		t.Errorf("%+v, %v", r.out, r.err)
	}
}

func TestCloseKillsWhatIgnoresIt(t *testing.T) {
	w, heard := newWorker(t, WorkerOptions{Grace: 50 * time.Millisecond})
	pid := workerPID(t, w)
	c := goCall(t.Context(), w, "ignore", "")
	heard.waitFor(t, "ignoring", 1)
	w.Close()
	if alive(pid) {
		t.Error("the worker is there after Close")
	}
	if r := receive(t, "the call", c); !errors.Is(r.err, ErrWorkerClosed) {
		t.Error(r.err)
	}
}

// Whatever the order, nobody hangs and no process stays.
func TestCloseRacesWithCalls(t *testing.T) {
	for range 10 {
		w, _ := newWorker(t, WorkerOptions{})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				out, err := w.Call(t.Context(), "pid", nil)
				if err == nil && out.Kind == wire.Returned {
					return
				}
				if !errors.Is(err, ErrWorkerClosed) && !errors.Is(err, ErrWorkerDied) {
					t.Error(err)
				}
			})
		}
		wg.Go(w.Close)
		wg.Wait()
		w.mu.Lock()
		if len(w.all) != 0 || w.current != nil || w.startup != nil {
			t.Errorf("left: %v %v %v", w.all, w.current, w.startup)
		}
		w.mu.Unlock()
	}
}

// Those who wait for answers take turns in reading: whoever comes and goes, each
// gets its own, also where both directions are full.
func TestConcurrentCallsGetTheirOwnAnswers(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{Grace: testenv.Bound(20 * time.Second)}) // emulated processors are slow
	large := strings.Repeat("0123456789abcdef", 256<<10)                        // 4 MiB: no socket holds it
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			for k := range 20 {
				name, in := "echo", fmt.Sprint(i, k)
				if k%2 == 0 {
					name = "echo on the reader"
				}
				if i < 4 && k < 4 {
					in += large
				}
				out, err := w.Call(t.Context(), name, []byte(in))
				if err != nil || string(out.Value.Bytes) != in {
					t.Errorf("%s %d %d: another answer, or %v", name, i, k, err)
				}
			}
		})
		wg.Go(func() { // those that go away in the middle
			for range 5 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*50*time.Microsecond)
				out, err := w.Call(ctx, "wait", nil)
				if err == nil {
					err = out.Err
				}
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
				cancel()
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(3 * patience):
		t.Fatal("the calls hang")
	}
}

// Init was reached: from there on a worker is a program like others.
func TestFunctionsMayUseWorkersThemselves(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	pid := workerPID(t, w)
	if inner, err := strconv.Atoi(mustCall(t, w, "second generation", "")); err != nil || inner == pid || alive(inner) {
		t.Errorf("pid %d, %v", inner, err)
	}
}

// What a worker printed is passed on, and its end is kept: not more.
func TestStderrTailIsBounded(t *testing.T) {
	w, heard := newWorker(t, WorkerOptions{})
	pid := workerPID(t, w)
	long := strings.Repeat("0123456789abcdef\n", 6000) + "the end\n"
	mustCall(t, w, "print", long)
	ignoring := goCall(t.Context(), w, "pause", "")
	eventually(t, "the call is under way", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.current.mu.Lock()
		defer w.current.mu.Unlock()
		return len(w.current.calls) == 1
	})
	unix.Kill(pid, unix.SIGKILL)
	d := died(t, receive(t, "a call", ignoring).err)
	if len(d.Stderr) > tailSize || !strings.HasSuffix(d.Stderr, "abcdef\nthe end\n") {
		t.Errorf("%d bytes that end in %q", len(d.Stderr), d.Stderr[max(0, len(d.Stderr)-40):])
	}
	if got := heard.String(); got != long {
		t.Errorf("%d bytes were passed on of %d", len(got), len(long))
	}
}

// A process that a function started may keep the worker's stderr for ever.
func TestDaemonWithStderrCannotHangTheParent(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	pid, err := strconv.Atoi(mustCall(t, w, "daemon", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Kill(pid, unix.SIGKILL)
	if _, err := w.Call(t.Context(), "exit", nil); !strings.Contains(died(t, err).Stderr, "last words") {
		t.Error(err)
	}
	if !alive(pid) {
		t.Error("the daemon is gone, too")
	}
	closed := make(chan struct{})
	go func() { w.Close(); close(closed) }()
	receive(t, "Close", closed)
}

// blocked is a writer that takes nothing.
type blocked struct{ free chan struct{} }

func (b blocked) Write(p []byte) (int, error) { <-b.free; return len(p), nil }

func TestStderrTail(t *testing.T) {
	t.Run("drained", func(t *testing.T) {
		var b bytes.Buffer
		tail, w, err := newStderrTail(&b)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close() // a survivor has it open
		io.WriteString(w, "before the end")
		if got := tail.stop().text; got != "before the end" {
			t.Errorf("%q", got)
		}
		if got := b.String(); got != "before the end" {
			t.Errorf("%q was passed on", got)
		}
	})
	t.Run("writer blocks", func(t *testing.T) {
		free := make(chan struct{})
		tail, w, err := newStderrTail(blocked{free})
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, "words")
		w.Close()
		if got := tail.stop().text; got != "words" {
			t.Errorf("%q", got)
		}
		close(free)
		receive(t, "the pump's end", tail.done)
	})
	t.Run("survivor goes on printing", func(t *testing.T) {
		tail, w, err := newStderrTail(io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		printing := make(chan struct{})
		go func() {
			defer close(printing)
			for {
				if _, err := w.Write(make([]byte, 4096)); err != nil {
					return // nobody reads any more
				}
			}
		}()
		if got := tail.stop().text; len(got) > tailSize {
			t.Errorf("%d bytes", len(got))
		}
		receive(t, "the survivor's EPIPE", printing)
		w.Close()
	})
}

func init() {
	// Programs that a worker is started as, without coming to Init.
	testenv.Program("exits", func() {})
	testenv.Program("fails", func() {
		fmt.Fprintln(os.Stderr, "no configuration")
		os.Exit(7)
	})
	testenv.Program("blocks", func() {
		fmt.Fprintln(os.Stderr, "generation")
		pauseForever()
	})
	testenv.Program("starts another", func() {
		fmt.Fprintln(os.Stderr, "generation")
		w := NewWorker(WorkerOptions{})
		defer w.Close()
		_, err := w.Call(context.Background(), "pid", nil)
		fmt.Fprintln(os.Stderr, "call:", err)
		_, err = create(context.Background(), ownUser())
		fmt.Fprintln(os.Stderr, "create:", err)
	})
	// Parents that are killed.
	testenv.Program("idle worker", func() { parentWith("pid") })
	testenv.Program("busy worker", func() { parentWith("ignore") })
	for _, f := range []string{"stop", "close all", "orphan the connection"} {
		testenv.Program("worker: "+f, func() { parentWith(f) })
		testenv.Program("worker of a user namespace: "+f, func() {
			program := os.Getenv(testenv.ProgramEnv)
			os.Unsetenv(testenv.ProgramEnv)
			fs, err := create(context.Background(), ownUser())
			check(err)
			os.Setenv(testenv.ProgramEnv, program)
			parentIn(WorkerOptions{Join: []Join{{Type: unix.CLONE_NEWUSER, File: fs[0]}}, Protect: true}, f)
		})
	}
}

// parentWith prints the pid of a worker in which function runs.
func parentWith(function string) { parentIn(WorkerOptions{}, function) }

func parentIn(o WorkerOptions, function string) {
	os.Unsetenv(testenv.ProgramEnv)
	h := newHeard()
	o.Stderr = h
	w := NewWorker(o)
	out, err := w.Call(context.Background(), "pid", nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if function != "pid" {
		go w.Call(context.Background(), function, nil)
		<-h.lines
	}
	fmt.Println(string(out.Value.Bytes))
	pauseForever()
}

// By the end of its socket; for workers that do not see that by Pdeathsig, on a thread that
// lasts: golang/go#27505, #34031, moby/moby#44215.
func TestKilledParentCannotLeaveAWorker(t *testing.T) {
	needProcess(t)
	for _, program := range []string{
		"idle worker", "busy worker", "worker: stop", "worker: close all", "worker: orphan the connection",
		"worker of a user namespace: stop", "worker of a user namespace: close all",
	} {
		t.Run(program, func(t *testing.T) {
			for _, pid := range parentOf(t, program, 1) {
				eventually(t, "the worker ends", func() bool { return !alive(pid) })
			}
		})
	}
}

// containers/storage#1058, podman#4127, containerd#1966: the caller is told,
// and soon. Which limit is waited for depends on the program.
func TestForgottenInitCannotHangTheCaller(t *testing.T) {
	for program, tt := range map[string]struct {
		limit time.Duration
		want  string
	}{
		"exits":  {0, "its main ended without"},
		"fails":  {0, "no configuration"},
		"blocks": {time.Second, "it did not come to Init within 1s, so probably the program did not call gonso.Init() first in main"},
	} {
		t.Run(program, func(t *testing.T) {
			t.Setenv(testenv.ProgramEnv, program)
			w, _ := newWorker(t, WorkerOptions{StartTimeout: tt.limit})
			for range 2 { // and again: a failure is not kept
				_, err := w.Call(t.Context(), "pid", nil)
				died(t, err)
				if !errors.Is(err, ErrNotInitialized) || !strings.Contains(err.Error(), "gonso.Init() first in main") || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, want %s", err, tt.want)
				}
			}
		})
	}
}

// container-libs#160, containers/storage#959.
func TestForgottenInitCannotForkAgain(t *testing.T) {
	t.Setenv(testenv.ProgramEnv, "starts another")
	w, heard := newWorker(t, WorkerOptions{})
	_, err := w.Call(t.Context(), "pid", nil)
	died(t, err)
	if !errors.Is(err, ErrNotInitialized) {
		t.Error(err)
	}
	printed := heard.String()
	if n := strings.Count(printed, "generation\n"); n != 1 {
		t.Errorf("%d generations:\n%s", n, printed)
	}
	for _, s := range []string{"call: " + errSecondGeneration.Error(), "create: " + errSecondGeneration.Error()} {
		if !strings.Contains(printed, s) {
			t.Errorf("no %q in:\n%s", s, printed)
		}
	}
}

// substitute makes the package start another program as worker.
func substitute(t *testing.T, path string) {
	t.Helper()
	needProcess(t)
	f, err := os.OpenFile(path, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	thisProgram.mu.Lock()
	old := thisProgram.file
	thisProgram.file = f
	thisProgram.mu.Unlock()
	t.Cleanup(func() {
		thisProgram.mu.Lock()
		thisProgram.file = old
		thisProgram.mu.Unlock()
		f.Close()
	})
}

// Silence without a word of package child is not blamed on Init.
func TestSilentProgramIsNotBlamedOnInit(t *testing.T) {
	if path, err := filepath.EvalSymlinks("/bin/true"); err != nil || filepath.Base(path) == "busybox" {
		need(t, "tools", fmt.Errorf("/bin/true is %s, which goes by argv[0]: %v", path, err))
	}
	substitute(t, "/bin/true")
	w, _ := newWorker(t, WorkerOptions{})
	_, err := w.Call(t.Context(), "pid", nil)
	if d := died(t, err); errors.Is(err, ErrNotInitialized) || d.Status != "exit status 0" || !strings.Contains(err.Error(), "before it ran any Go code") {
		t.Error(err)
	}
}

// A step that fails is told by its name, and not as the end of a socket.
func TestRefusedExecIsTold(t *testing.T) {
	substitute(t, "/etc/passwd")
	w, _ := newWorker(t, WorkerOptions{})
	_, err := w.Call(t.Context(), "pid", nil)
	var le *LaunchError
	if !errors.As(err, &le) || le.Op != "execveat" || !errors.Is(err, unix.EACCES) {
		t.Errorf("%T: %v", err, err)
	}
}

func TestRefusedJoinIsTold(t *testing.T) {
	needProcess(t)
	uts, err := os.Open("/proc/self/ns/uts")
	if err != nil {
		t.Fatal(err)
	}
	defer uts.Close()
	w, _ := newWorker(t, WorkerOptions{Join: []Join{{Type: unix.CLONE_NEWNET, File: uts}}})
	_, err = w.Call(t.Context(), "pid", nil)
	var le *LaunchError
	if !errors.As(err, &le) || le.Op != "setns" || le.Type != unix.CLONE_NEWNET || !errors.Is(err, unix.EINVAL) {
		t.Errorf("%T: %v", err, err)
	}
}

// The copy that is executed inside cannot be written to, not even by root:
// CVE-2019-5736.
func TestSealedCopyCannotBeWritten(t *testing.T) {
	needProcess(t)
	f, done, err := thisProgram.open(true, false)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	again, _, err := thisProgram.open(true, false)
	if err != nil || again != f {
		t.Errorf("runc#1980, #3925: copied again: %v", err)
	}
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	if want := unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL; err != nil || seals&want != want {
		t.Errorf("seals %#x, %v", seals, err)
	}
	st, err := f.Stat()
	if err != nil || st.Mode().Perm() != 0o111 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("written to")
	}
	if w, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), os.O_RDWR, 0); err == nil {
		if _, err := w.WriteAt([]byte("x"), 0); !errors.Is(err, unix.EPERM) {
			t.Errorf("written to by another descriptor: %v", err)
		}
		if err := w.Truncate(0); !errors.Is(err, unix.EPERM) {
			t.Errorf("truncated: %v", err)
		}
		w.Close()
	} else if os.Geteuid() == 0 {
		t.Error(err)
	}

	w, _ := newWorker(t, WorkerOptions{Protect: true})
	pid := workerPID(t, w)
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if os.Geteuid() != 0 && errors.Is(err, os.ErrPermission) {
		return // not dumpable, as should be
	}
	if err != nil || !strings.HasPrefix(exe, "/memfd:gonso-worker") {
		t.Errorf("the worker executes %s, %v", exe, err)
	}
}

// The links in the worker's own /proc are only looked at through the socket.
func TestProtectedWorkerOfAPlainUserIsNotDumpable(t *testing.T) {
	testenv.Need(t, testenv.Plain) // root may read files of any mode
	w, _ := newWorker(t, WorkerOptions{Protect: true})
	// Owner 0 means that the process is not dumpable, see proc(5).
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join("/proc", strconv.Itoa(workerPID(t, w)), "mem"), &st); err != nil || st.Uid != 0 {
		t.Errorf("mem belongs to %d, %v", st.Uid, err)
	}
}

func TestWorkerNameIsKnown(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", workerPID(t, w)))
	if err != nil || string(b) != handshake.Name+"\x00" {
		t.Errorf("%q, %v", b, err)
	}
}
