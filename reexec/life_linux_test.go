package reexec

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/testenv"
	"github.com/gonso/gonso/internal/wire"
)

func init() {
	functions["cwd"] = func(context.Context, codec.Value) *wire.Outcome {
		dir, err := os.Getwd()
		return &wire.Outcome{Kind: wire.Returned, Value: codec.Value{Bytes: []byte(dir)}, Err: err}
	}
	functions["arguments"] = func(context.Context, codec.Value) *wire.Outcome { return returned(strings.Join(os.Args, " ")) }
	functions["remember"] = func(_ context.Context, in codec.Value) *wire.Outcome {
		remembered.Lock()
		defer remembered.Unlock()
		before := remembered.what
		remembered.what = string(in.Bytes)
		return returned(before)
	}
}

var remembered struct {
	sync.Mutex
	what string
}

func TestBackoff(t *testing.T) {
	var b backoff
	now := time.Unix(1000, 0)
	why := errors.New("why")
	for i, want := range []time.Duration{0, 0, 10, 20, 40, 80, 160, 320, 640, 1280, 2000, 2000, 2000} {
		if got := b.delay(now); got != want*time.Millisecond {
			t.Errorf("after %d failures: %v, want %vms", i, got, int(want))
		}
		b.fail(now, why)
	}
	for range 100 { // shifts must not overflow
		b.fail(now, why)
	}
	if got := b.delay(now); got != maxDelay {
		t.Errorf("after many failures: %v", got)
	}
	// Time passes for the next start, whoever waits for it.
	if got := b.delay(now.Add(1500 * time.Millisecond)); got != 500*time.Millisecond {
		t.Errorf("1.5 s later: %v", got)
	}
	if got := b.delay(now.Add(time.Hour)); got != 0 {
		t.Errorf("an hour later: %v", got)
	}
	b.succeed()
	if got := b.delay(now); got != 0 || b.last != nil {
		t.Errorf("after success: %v", got)
	}
}

// stopped is a clock that stands still, and notes who waits for what.
type stopped struct {
	mu     sync.Mutex
	delays []time.Duration
	free   chan time.Time
}

func stopClock(w *Worker, free bool) *stopped {
	s := &stopped{free: make(chan time.Time)}
	if free {
		close(s.free)
	}
	now := time.Now()
	w.now = func() time.Time { return now }
	w.after = func(d time.Duration) <-chan time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.delays = append(s.delays, d)
		return s.free
	}
	return s
}

func (s *stopped) waits() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprint(s.delays)
}

// The first retry comes at once, the next ones later and later, and one good
// worker makes up for all.
func TestFailingStartsAreHeldBack(t *testing.T) {
	t.Setenv(testenv.ProgramEnv, "fails")
	w, _ := newWorker(t, WorkerOptions{})
	clock := stopClock(w, true)
	for range 5 {
		_, err := w.Call(t.Context(), "pid", nil)
		died(t, err)
	}
	const want = "[10ms 20ms 40ms]"
	if got := clock.waits(); got != want {
		t.Errorf("waited for %s, want %s", got, want)
	}
	os.Unsetenv(testenv.ProgramEnv)
	pid := workerPID(t, w)
	unix.Kill(pid, unix.SIGKILL)
	eventually(t, "the end is seen", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.all) == 0
	})
	workerPID(t, w)
	if got := clock.waits(); got != "[10ms 20ms 40ms 80ms]" {
		t.Errorf("after a worker that was of use: waited for %s", got)
	}
}

// A worker that dies before it has answered anything is as bad as no start;
// one that lived for a while is not, nor one that this process has ended.
func TestCrashLoopsAreHeldBack(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	clock := stopClock(w, true)
	crash := func() {
		t.Helper()
		_, err := w.Call(t.Context(), "exit", nil)
		died(t, err)
	}
	crash()
	crash()
	crash()
	if got := clock.waits(); got != "[10ms]" {
		t.Errorf("waited for %s", got)
	}
	born := w.now()
	at := born
	w.mu.Lock()
	w.now = func() time.Time { at = at.Add(longLife); return at }
	w.mu.Unlock()
	crash() // it lived for a second, as far as anybody knows
	w.mu.Lock()
	if w.backoff.failures != 0 {
		t.Errorf("%d failures after one that lived", w.backoff.failures)
	}
	w.mu.Unlock()
}

func TestHeldBackCallerCanGiveUp(t *testing.T) {
	t.Setenv(testenv.ProgramEnv, "fails")
	w, _ := newWorker(t, WorkerOptions{})
	clock := stopClock(w, false)
	for range 2 {
		_, err := w.Call(t.Context(), "pid", nil)
		died(t, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := goCall(ctx, w, "pid", "")
	eventually(t, "the start is held back", func() bool { return clock.waits() == "[10ms]" })
	cancel()
	err := receive(t, "the call", c).err
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrWorkerDied) || !strings.Contains(err.Error(), "no configuration") {
		t.Errorf("got %v", err)
	}
	other := goCall(t.Context(), w, "pid", "")
	closed := make(chan struct{})
	go func() { w.Close(); close(closed) }()
	receive(t, "Close", closed)
	if err := receive(t, "the call", other).err; !errors.Is(err, ErrWorkerClosed) {
		t.Errorf("got %v", err)
	}
}

func TestIsolatedCallsHaveProcessesOfTheirOwn(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	shared := workerPID(t, w)
	var wg sync.WaitGroup
	var mu sync.Mutex
	pids := map[string]bool{fmt.Sprint(shared): true}
	for range 8 {
		wg.Go(func() {
			out, err := w.CallIsolated(t.Context(), "pid", nil)
			if err != nil {
				t.Error(err)
				return
			}
			pid := string(out.Value.Bytes)
			mu.Lock()
			defer mu.Unlock()
			if pids[pid] {
				t.Errorf("pid %s again", pid)
			}
			pids[pid] = true
			if _, err := os.Stat("/proc/" + pid); err == nil {
				t.Errorf("%s is there after its call", pid)
			}
		})
	}
	wg.Wait()
	for range 2 {
		if out, err := w.CallIsolated(t.Context(), "remember", []byte("me")); err != nil || len(out.Value.Bytes) != 0 {
			t.Errorf("it remembers %q, %v", out.Value.Bytes, err)
		}
	}
	if again := workerPID(t, w); again != shared {
		t.Error("the shared worker was disturbed")
	}
	if out, err := w.CallIsolated(t.Context(), "no such function", nil); err != nil || out.Kind != wire.NotRegistered {
		t.Errorf("%+v, %v", out, err)
	}
	_, err := w.CallIsolated(t.Context(), "exit", nil)
	if d := died(t, err); d.Status != "exit status 3" || !strings.Contains(d.Stderr, "last words") {
		t.Error(err)
	}
}

func TestIsolatedCallThatIgnoresItsContextIsKilledAlone(t *testing.T) {
	w, heard := newWorker(t, WorkerOptions{Grace: 500 * time.Millisecond})
	goodCtx, endGood := context.WithCancel(t.Context())
	defer endGood()
	isolated := func(ctx context.Context, name string) <-chan result {
		c := make(chan result, 1)
		go func() {
			out, err := w.CallIsolated(ctx, name, nil)
			c <- result{out, err}
		}()
		return c
	}
	good := isolated(goodCtx, "wait")
	heard.waitFor(t, "waiting", 1)
	ctx, cancel := context.WithCancel(t.Context())
	bad := isolated(ctx, "ignore")
	heard.waitFor(t, "ignoring", 1)
	cancel()
	if r := receive(t, "the bad call", bad); !errors.Is(r.err, context.Canceled) || !errors.Is(r.err, ErrWorkerDied) {
		t.Error(r.err)
	}
	select {
	case r := <-good:
		t.Errorf("the other one ended, too: %v", r.err)
	default:
	}
	w.Close() // cancels it
	if r := receive(t, "the good call", good); r.err != nil || !errors.Is(r.out.Err, context.Canceled) {
		t.Errorf("%+v, %v", r.out, r.err)
	}
	if _, err := w.CallIsolated(t.Context(), "pid", nil); !errors.Is(err, ErrWorkerClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Whoever gives up at whatever moment, no process stays: TestMain and Close look.
func TestIsolatedCallsMayBeGivenUp(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*300*time.Microsecond)
			defer cancel()
			out, err := w.CallIsolated(ctx, "wait", nil)
			if err == nil {
				err = out.Err
			}
			if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrWorkerClosed) && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		if i == 30 {
			wg.Go(w.Close)
		}
	}
	wg.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.all) != 0 || len(w.startups) != 0 {
		t.Errorf("left: %v %v", w.all, w.startups)
	}
}

func TestWorkerAsAsked(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w, _ := newWorker(t, WorkerOptions{
		Env: []string{"ONLY=this"}, Dir: dir,
		Rlimits: []Rlimit{{unix.RLIMIT_CORE, 1 << 20, 1 << 20}, {unix.RLIMIT_NOFILE, 123, 123}},
	})
	pid := workerPID(t, w)
	if got := mustCall(t, w, "environ", ""); got != "ONLY=this" {
		t.Errorf("environment %q", got)
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid)); err != nil || string(b) != "ONLY=this\x00" {
		t.Errorf("environment from outside %q, %v", b, err)
	}
	if got, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || got != dir {
		t.Errorf("it is in %s, %v", got, err)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"Max open files": {"123", "123"}, "Max core file size": {"1048576", "1048576"}} {
		_, rest, _ := strings.Cut(string(b), name)
		if got := strings.Fields(rest); len(got) < 2 || !slices.Equal(got[:2], want) {
			t.Errorf("%s: %v, want %v", name, got[:2], want)
		}
	}
	empty, _ := newWorker(t, WorkerOptions{Env: []string{}})
	if got := mustCall(t, empty, "environ", ""); got != "" {
		t.Errorf("environment %q", got)
	}
}

// What cannot be as asked is told by name, and leaves nothing behind.
func TestRefusedWishesAreTold(t *testing.T) {
	before := descriptors()
	for name, tt := range map[string]struct {
		o        WorkerOptions
		op, path string
		err      error
	}{
		"no such directory": {WorkerOptions{Dir: "/no such"}, "chdir", "/no such", unix.ENOENT},
		"a file":            {WorkerOptions{Dir: "/etc/passwd"}, "chdir", "/etc/passwd", unix.ENOTDIR},
		"limits":            {WorkerOptions{Rlimits: []Rlimit{{unix.RLIMIT_NOFILE, 2, 1}}}, "prlimit64", "", unix.EINVAL},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := newWorker(t, tt.o)
			_, err := w.Call(t.Context(), "pid", nil)
			var le *LaunchError
			if !errors.As(err, &le) || le.Op != tt.op || le.Path != tt.path || !errors.Is(err, tt.err) {
				t.Errorf("%T: %v", err, err)
			}
			w.Close()
			unharmed(t, before, -1)
		})
	}
}

// cgroup2 is a new cgroup, empty at the end.
func cgroup2(t *testing.T) string {
	t.Helper()
	for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		f, err := OpenCgroup(top)
		if err != nil {
			continue
		}
		f.Close()
		dir, err := os.MkdirTemp(top, "gonso-test-")
		need(t, "cgroup2", err)
		t.Cleanup(func() {
			if !poll(func() bool { return os.Remove(dir) == nil }) {
				t.Errorf("%s is still in use", dir)
			}
		})
		return dir
	}
	need(t, "cgroup2", errors.New("it is not mounted"))
	return ""
}

func TestCgroup(t *testing.T) {
	needProcess(t)
	dir := cgroup2(t)
	for _, clone := range []bool{true, false} {
		t.Run(fmt.Sprint("clone into it ", clone), func(t *testing.T) {
			cloneIntoCgroup = clone
			defer func() { cloneIntoCgroup = true }()
			w, _ := newWorker(t, WorkerOptions{Cgroup: dir})
			pid := workerPID(t, w)
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
			if err != nil || !strings.Contains(string(b), "/"+filepath.Base(dir)+"\n") {
				t.Errorf("it is in %s, %v", b, err)
			}
			if b, err := os.ReadFile(dir + "/cgroup.procs"); err != nil || string(b) != fmt.Sprintln(pid) {
				t.Errorf("in the cgroup are %q, %v; want %d", b, err, pid)
			}
		})
	}
	for path, want := range map[string]error{dir + "/none": unix.ENOENT, dir + "/cgroup.procs": unix.ENOTDIR, "/": nil} {
		before := descriptors()
		w, _ := newWorker(t, WorkerOptions{Cgroup: path})
		_, err := w.Call(t.Context(), "pid", nil)
		if err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
		w.Close()
		unharmed(t, before, -1)
	}
}

// A cgroup that somebody else rules: neither way in, and nothing left behind.
func TestRefusedCgroupIsTold(t *testing.T) {
	needProcess(t)
	if os.Geteuid() == 0 {
		dir := cgroup2(t)
		// What is beside a threaded cgroup is an invalid domain, cgroups(7).
		for _, d := range []string{dir + "/threaded", dir + "/invalid"} {
			if err := os.Mkdir(d, 0o755); err != nil {
				t.Fatal(err)
			}
			defer os.Remove(d)
		}
		if err := os.WriteFile(dir+"/threaded/cgroup.type", []byte("threaded"), 0); err != nil {
			t.Fatal(err)
		}
		refusedCgroup(t, dir+"/invalid")
		return
	}
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if f, err := OpenCgroup(dir); err == nil {
			f.Close()
			refusedCgroup(t, dir)
			return
		}
	}
	need(t, "cgroup2", errors.New("it is not mounted"))
}

func refusedCgroup(t *testing.T, dir string) {
	t.Helper()
	before := descriptors()
	w, _ := newWorker(t, WorkerOptions{Cgroup: dir})
	_, err := w.Call(t.Context(), "pid", nil)
	var le *LaunchError
	if !errors.As(err, &le) || le.Op != "join cgroup" || le.Path != dir {
		t.Errorf("%T: %v", err, err)
	}
	w.Close()
	unharmed(t, before, -1)
}

// copyOf makes an executable of what is in from.
func copyOf(t *testing.T, from string, mode os.FileMode) string {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, b, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// containerd/containerd#1966: main is out of reach, so another program is named.
func TestHelper(t *testing.T) {
	needProcess(t)
	for _, protect := range []bool{false, true} {
		path := copyOf(t, "/proc/self/exe", 0o755)
		w, _ := newWorker(t, WorkerOptions{Path: path, Protect: protect})
		pid := workerPID(t, w)
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); !protect && (err != nil || exe != path) {
			t.Errorf("it executes %s, %v", exe, err)
		}
		// It stays the same, whatever becomes of the file.
		if err := errors.Join(os.Remove(path), os.WriteFile(path, []byte("#!/bin/false\n"), 0o755)); err != nil {
			t.Fatal(err)
		}
		unix.Kill(pid, unix.SIGKILL)
		eventually(t, "it is replaced", func() bool {
			out, err := w.Call(t.Context(), "pid", nil)
			return err == nil && string(out.Value.Bytes) != fmt.Sprint(pid)
		})
		if out, err := w.CallIsolated(t.Context(), "echo", []byte("x")); err != nil || string(out.Value.Bytes) != "x" {
			t.Errorf("%v", err)
		}
	}
}

func TestHelperThatIsNone(t *testing.T) {
	needProcess(t)
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	short := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(short, []byte("\x7fELF"), 0o755); err != nil {
		t.Fatal(err)
	}
	other := copyOf(t, "/proc/self/exe", 0o755)
	f, err := os.OpenFile(other, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt(binary.NativeEndian.AppendUint16(nil, 50), 18) // IA-64, which has no launcher
	f.Close()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o755); err != nil {
		t.Fatal(err)
	}
	// A test binary of 32 bits may run where the system's programs have 64.
	isNot, wantNot := ErrNotInitialized, "it ended before it ran any Go code of package gonso"
	if e := elfOfFile(t, "/bin/true"); e.machine != launcher.Machine() {
		isNot, wantNot = nil, fmt.Sprintf("for another processor (ELF machine %d", e.machine)
	}
	for name, tt := range map[string]struct {
		path string
		is   error
		want string
	}{
		"missing":           {"/no/such/program", unix.ENOENT, ""},
		"a directory":       {t.TempDir(), unix.EISDIR, ""},
		"a pipe":            {fifo, nil, "not a regular file"},
		"a script":          {script, errNotELF, ""},
		"cut short":         {short, errNotELF, ""},
		"another processor": {other, nil, "for another processor (ELF machine 50"},
		"not executable":    {copyOf(t, "/proc/self/exe", 0o644), unix.EACCES, ""},
		"another program":   {"/bin/true", isNot, wantNot},
	} {
		t.Run(name, func(t *testing.T) {
			before := descriptors()
			w, _ := newWorker(t, WorkerOptions{Path: tt.path})
			_, err := w.Call(t.Context(), "pid", nil)
			if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
			var le *LaunchError
			if errors.As(err, &le) && le.Path != tt.path || le == nil && !strings.Contains(err.Error(), tt.path) {
				t.Errorf("the error does not name %s: %v", tt.path, err)
			}
			w.Close()
			unharmed(t, before, -1)
		})
	}
	t.Run("one that hangs", func(t *testing.T) {
		t.Setenv(testenv.ProgramEnv, "blocks")
		w, _ := newWorker(t, WorkerOptions{Path: copyOf(t, "/proc/self/exe", 0o755), StartTimeout: 500 * time.Millisecond})
		_, err := w.Call(t.Context(), "pid", nil)
		if died(t, err); !errors.Is(err, ErrNotInitialized) || !strings.Contains(err.Error(), w.opts.Path) || !strings.Contains(err.Error(), "within 500ms") {
			t.Error(err)
		}
	})
}

func TestReadELF(t *testing.T) {
	read := func(path string) *elfInfo {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		e, err := readELF(f)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return e
	}
	self := read("/proc/self/exe")
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	if dynamic := bytes.Contains(maps, []byte("/ld-")); self.interp != dynamic {
		t.Errorf("this program: interpreter %v, loader mapped %v", self.interp, dynamic)
	}
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	b = b[:4096]
	for n := range b { // whatever it is, no panic
		readELF(bytes.NewReader(b[:n]))
		c := slices.Clone(b)
		c[n] ^= 0xff
		readELF(bytes.NewReader(c))
	}
	if _, err := readELF(io.NewSectionReader(bytes.NewReader(nil), 0, 0)); !errors.Is(err, errNotELF) {
		t.Error(err)
	}
}

// The worker is the same program after an upgrade has replaced it on disk, or
// deleted it. What was running says so.
func TestReplacedExecutableIsNotWhatIsStarted(t *testing.T) {
	needProcess(t)
	for _, change := range []string{"replaced", "deleted"} {
		t.Run(change, func(t *testing.T) {
			path := copyOf(t, "/proc/self/exe", 0o755)
			c := exec.Command(path, path, change)
			c.Env = append(os.Environ(), testenv.ProgramEnv+"=upgraded while it runs")
			if out, err := c.CombinedOutput(); err != nil || string(out) != "all of the old build\n" {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func init() {
	testenv.Program("upgraded while it runs", func() {
		os.Unsetenv(testenv.ProgramEnv)
		path := os.Args[1]
		fail := func(err error) {
			if err != nil {
				fmt.Println("failed:", err)
				os.Exit(1)
			}
		}
		fail(os.Remove(path))
		if os.Args[2] == "replaced" {
			fail(os.WriteFile(path, []byte("another build"), 0o755))
		}
		for _, protect := range []bool{false, true} {
			for range 2 { // the second has it open already
				w := NewWorker(WorkerOptions{Protect: protect})
				out, err := w.Call(context.Background(), "echo", []byte("x"))
				fail(err)
				if string(out.Value.Bytes) != "x" {
					fail(fmt.Errorf("%q", out.Value.Bytes))
				}
				w.Close()
			}
		}
		fmt.Println("all of the old build")
	})
}
