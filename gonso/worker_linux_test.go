package gonso_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// Functions that workers are asked for.
var (
	workerPID = gonso.Register("worker.pid", func(context.Context, struct{}) (int, error) { return os.Getpid(), nil })

	// meet returns when n calls are in it at once.
	meet = gonso.Register("worker.meet", func(ctx context.Context, n int) (int, error) {
		meeting.Lock()
		meeting.here++
		if meeting.here == n {
			close(meeting.all)
		}
		meeting.Unlock()
		select {
		case <-meeting.all:
			return os.Getpid(), nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	})

	// wait makes the file and returns when it is cancelled.
	wait = gonso.Register("worker.wait", func(ctx context.Context, path string) (string, error) {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return "", err
		}
		<-ctx.Done()
		return "cancelled", context.Cause(ctx)
	})

	exit = gonso.Register("worker.exit", func(_ context.Context, status int) (struct{}, error) {
		fmt.Fprintln(os.Stderr, "worker.exit says its last words")
		os.Exit(status)
		return struct{}{}, nil
	})

	crash = gonso.Register("worker.crash", func(ctx context.Context, _ struct{}) (struct{}, error) {
		go crashInGoroutine()
		<-ctx.Done()
		return struct{}{}, ctx.Err()
	})

	arguments = gonso.Register("worker.arguments", func(context.Context, struct{}) ([]string, error) { return os.Args, nil }, gonso.LeavesThreadClean())
	environ   = gonso.Register("worker.environ", func(context.Context, struct{}) ([]string, error) { return os.Environ(), nil })
)

var meeting = struct {
	sync.Mutex
	here int
	all  chan struct{}
}{all: make(chan struct{})}

func crashInGoroutine() { panic("crashed on purpose") }

func newSet(t testing.TB, types gonso.Type, opts ...gonso.UnshareOption) *gonso.Set {
	t.Helper()
	if types&gonso.User != 0 {
		testenv.Need(t, testenv.Process, testenv.UserNS)
	}
	s, err := gonso.Unshare(types, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func call[In, Out any](t testing.TB, f *gonso.Func[In, Out], s *gonso.Set, in In, opts ...gonso.DoOption) Out {
	t.Helper()
	out, err := f.Do(t.Context(), s, in, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func dup(t testing.TB, s *gonso.Set) *gonso.Set {
	t.Helper()
	d, err := s.Dup()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func gone(pid int) bool {
	return errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

// waitIn starts n calls of wait and returns when all of them run.
func waitIn(t *testing.T, ctx context.Context, s *gonso.Set, n int) <-chan error {
	t.Helper()
	dir := t.TempDir()
	errs := make(chan error, n)
	for i := range n {
		go func() {
			out, err := wait.Do(ctx, s, filepath.Join(dir, fmt.Sprint(i)))
			if out == "cancelled" {
				err = fmt.Errorf("%s: %w", out, err)
			}
			errs <- err
		}()
	}
	testenv.Eventually(t, "the functions run", func() bool {
		made, _ := os.ReadDir(dir)
		return len(made) == n
	})
	return errs
}

var _ = testenv.AlsoNested(TestSetHasOneWarmWorker)

func TestSetHasOneWarmWorker(t *testing.T) {
	s := newSet(t, gonso.User)
	pid := call(t, workerPID, s, struct{}{})
	if pid == os.Getpid() {
		t.Fatal("it runs here")
	}
	for range 3 {
		if again := call(t, workerPID, s, struct{}{}); again != pid {
			t.Errorf("pid %d, then %d", pid, again)
		}
	}
	d := dup(t, s)
	other := call(t, workerPID, d, struct{}{})
	if other == pid {
		t.Error("a Dup shares the worker")
	}
	s.Close()
	if !gone(pid) {
		t.Error("the worker is there after Close")
	}
	if again := call(t, workerPID, d, struct{}{}); again != other {
		t.Error("closing the Set disturbed its Dup")
	}
	d.Close()
	if !gone(other) {
		t.Error("the Dup's worker is there after Close")
	}
}

// All of them are in the function at the same time, in one process.
func TestCallsRunAtOnceInOneWorker(t *testing.T) {
	const n = 64
	s := newSet(t, gonso.User)
	pids := make(chan int, n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			pid, err := meet.Do(t.Context(), s, n)
			if err != nil {
				t.Error(err)
			}
			pids <- pid
		})
	}
	wg.Wait()
	first := <-pids
	for range n - 1 {
		if pid := <-pids; pid != first {
			t.Errorf("pid %d and %d", first, pid)
		}
	}
}

var _ = testenv.AlsoNested(TestKilledWorkerIsToldOfAndReplaced)

func TestKilledWorkerIsToldOfAndReplaced(t *testing.T) {
	s := newSet(t, gonso.User)
	pid := call(t, workerPID, s, struct{}{})
	errs := waitIn(t, t.Context(), s, 5)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := <-errs; !errors.Is(err, gonso.ErrWorkerDied) || !strings.Contains(err.Error(), "signal: killed") {
			t.Errorf("got %v", err)
		}
	}
	if again := call(t, workerPID, s, struct{}{}); again == pid {
		t.Error("the dead answered")
	}
}

// runc#4905: the child's error is lost, and the caller reads "EOF".
func TestErrorOfADyingWorkerCannotBeLost(t *testing.T) {
	s := newSet(t, gonso.User)
	_, err := exit.Do(t.Context(), s, 3)
	for _, words := range []string{"exit status 3", "worker.exit says its last words"} {
		if !errors.Is(err, gonso.ErrWorkerDied) || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want %q in it", err, words)
		}
	}
	_, err = crash.Do(t.Context(), s, struct{}{})
	for _, words := range []string{"exit status 2", "panic: crashed on purpose", "crashInGoroutine"} {
		if !errors.Is(err, gonso.ErrWorkerDied) || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want %q in it", err, words)
		}
	}
	call(t, workerPID, s, struct{}{})
}

var _ = testenv.AlsoNested(TestCancellationReachesTheWorker)

func TestCancellationReachesTheWorker(t *testing.T) {
	s := newSet(t, gonso.User)
	pid := call(t, workerPID, s, struct{}{})
	ctx, cancel := context.WithCancel(t.Context())
	errs := waitIn(t, ctx, s, 3)
	cancel()
	for range 3 {
		if err := <-errs; !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "cancelled: ") {
			t.Errorf("got %v", err)
		}
	}
	if again := call(t, workerPID, s, struct{}{}); again != pid {
		t.Error("the worker did not outlive a cancelled call")
	}
}

func TestCloseCancelsTheWorkersFunctions(t *testing.T) {
	s := newSet(t, gonso.User)
	pid := call(t, workerPID, s, struct{}{})
	errs := waitIn(t, t.Context(), s, 3)
	s.Close()
	if !gone(pid) {
		t.Error("the worker is there after Close")
	}
	for range 3 {
		if err := <-errs; !errors.Is(err, context.Canceled) || !strings.HasPrefix(err.Error(), "cancelled: ") {
			t.Errorf("got %v", err)
		}
	}
	if _, err := workerPID.Do(t.Context(), s, struct{}{}); !errors.Is(err, gonso.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// What somebody else's root can read is not what this process was given.
func TestEnvironmentStaysOutOfForeignNamespaces(t *testing.T) {
	t.Setenv("GONSO_TEST_SECRET", "s3cr3t")
	own := newSet(t, gonso.User)
	has := func(env []string) bool { return strings.Contains(strings.Join(env, "\n"), "s3cr3t") }
	if !has(call(t, environ, own, struct{}{})) {
		t.Error("a Set of one's own making lacks the environment")
	}
	opened, err := gonso.FromPID(call(t, workerPID, own, struct{}{}), gonso.User)
	if err != nil {
		t.Fatal(err)
	}
	defer opened.Close()
	if env := call(t, environ, opened, struct{}{}); has(env) {
		t.Errorf("an opened Set has it: %v", env)
	}
}

// A worker that spins serves as any other, and its functions do not see what it was told.
func TestSpinningWorkerCannotBeTold(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	s := newSet(t, gonso.User|gonso.Net)
	if err := s.SetWorker(gonso.Worker{Spin: time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	for range 50 { // some of them soon after the one before
		if args, err := arguments.Do(t.Context(), s, struct{}{}); err != nil || !slices.Equal(args, []string{"gonso-worker"}) {
			t.Fatalf("arguments %q, %v", args, err)
		}
	}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 20 {
				if _, err := arguments.Do(t.Context(), s, struct{}{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}
