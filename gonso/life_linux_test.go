package gonso_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

var (
	getwd = gonso.Register("life.getwd", func(context.Context, struct{}) (string, error) { return os.Getwd() })

	// ignore makes the file and goes on for ever, whatever its context says.
	ignore = gonso.Register("life.ignore", func(_ context.Context, path string) (struct{}, error) {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			return struct{}{}, err
		}
		for {
			unix.Pause()
		}
	})

	// linger answers later.
	linger = gonso.Register("life.linger", func(ctx context.Context, d time.Duration) (int, error) {
		select {
		case <-time.After(d):
			return os.Getpid(), nil
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	})

	counter int
	count   = gonso.Register("life.count", func(context.Context, struct{}) ([2]int, error) {
		counter++
		return [2]int{counter, os.Getpid()}, nil
	})
)

func setWorker(t *testing.T, s *gonso.Set, w gonso.Worker) {
	t.Helper()
	if err := s.SetWorker(w); err != nil {
		t.Fatal(err)
	}
}

var _ = testenv.AlsoNested(TestWorkerIsAsSetWorkerSays)

// Seen from outside.
func TestWorkerIsAsSetWorkerSays(t *testing.T) {
	s := newSet(t, gonso.User|gonso.Mount)
	setWorker(t, s, gonso.Worker{
		Env: []string{"A=1", "A=2"}, Dir: "/etc",
		Rlimits: []gonso.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 99, Hard: 99}},
	})
	for name, opt := range map[string]gonso.DoOption{"shared": gonso.InProcess(), "isolated": gonso.Isolated()} {
		if env := call(t, environ, s, struct{}{}, opt); !slices.Equal(env, []string{"A=2"}) {
			t.Errorf("%s: environment %v", name, env)
		}
		if dir := call(t, getwd, s, struct{}{}, opt); dir != "/etc" {
			t.Errorf("%s: it is in %s", name, dir)
		}
	}
	pid := call(t, workerPID, s, struct{}{})
	for file, want := range map[string]string{"environ": "A=2\x00", "limits": "99                   99"} {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file)); err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%s: %s, %v", file, b, err)
		}
	}
	if err := s.SetWorker(gonso.Worker{}); err == nil || !strings.Contains(err.Error(), "SetWorker comes before") {
		t.Errorf("afterwards: %v", err)
	}
}

var _ = testenv.AlsoNested(TestWorkerThatCannotBeAsAskedIsAnError)

func TestWorkerThatCannotBeAsAskedIsAnError(t *testing.T) {
	testenv.Leaks(t)
	// A test binary of 32 bits may run where the system's programs have 64.
	isNot, wordsNot := gonso.ErrNotInitialized, []string{"/bin/true", "is it a program that calls gonso.Init()?"}
	if !testenv.SameProcessor("/bin/true") {
		isNot, wordsNot = nil, []string{"/bin/true", "it is for another processor"}
	}
	for name, tt := range map[string]struct {
		w     gonso.Worker
		is    error
		words []string
	}{
		"directory":                      {gonso.Worker{Dir: "/no/such"}, unix.ENOENT, []string{"chdir", "/no/such"}},
		"helper":                         {gonso.Worker{Path: "/no/such"}, unix.ENOENT, []string{"/no/such"}},
		"helper that is another program": {gonso.Worker{Path: "/bin/true"}, isNot, wordsNot},
		"helper that is none":            {gonso.Worker{Path: "/etc/passwd"}, nil, []string{"/etc/passwd", "not an executable"}},
	} {
		s := newSet(t, gonso.User)
		setWorker(t, s, tt.w)
		_, err := workerPID.Do(t.Context(), s, struct{}{})
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, w := range tt.words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: no %q in: %v", name, w, err)
			}
		}
		s.Close()
	}
	for _, path := range []string{"/no/such", "/etc"} {
		if err := new(gonso.Set).SetWorker(gonso.Worker{Cgroup: path}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("Cgroup %s: %v", path, err)
		}
	}
}

// A helper knows the functions by name; here it is a copy of this program.
func TestHelperTakesThePlaceOfThisProgram(t *testing.T) {
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "helper")
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	s := newSet(t, gonso.User)
	setWorker(t, s, gonso.Worker{Path: path})
	pid := call(t, workerPID, s, struct{}{})
	if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err != nil || exe != path {
		t.Errorf("the worker executes %s, %v", exe, err)
	}
}

func TestIsolatedWorksOnAllSets(t *testing.T) {
	testenv.Need(t, testenv.Process)
	testenv.Leaks(t)
	sets := map[string]*gonso.Set{"zero": new(gonso.Set)}
	if testenv.Has(testenv.UserNS) {
		for _, types := range []gonso.Type{gonso.User, gonso.User | gonso.PID | gonso.Mount, gonso.User | gonso.Net} {
			sets[types.String()] = newSet(t, types)
		}
	}
	if testenv.Has(testenv.UserNS, testenv.TimeNS) {
		sets["time"] = newSet(t, gonso.User|gonso.Net|gonso.Time)
	}
	if testenv.Has(testenv.Root) {
		sets["net"] = newSet(t, gonso.Net)
	}
	for name, s := range sets {
		defer s.Close()
		if r := s.Plan(gonso.Isolated()).Functions; r.Backend != gonso.ProcessBackend || r.Why != "the caller asked for it" {
			t.Errorf("%s: planned %v", name, r)
		}
		shared := call(t, count, s, struct{}{}, gonso.InProcess())
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				got, err := count.Do(t.Context(), s, struct{}{}, gonso.Isolated())
				if err != nil || got[0] != 1 || got[1] == shared[1] || got[1] == os.Getpid() && !s.Has(gonso.PID) {
					t.Errorf("%s: the call saw %v beside %v, %v", name, got, shared, err)
				}
			})
		}
		wg.Wait()
		if again := call(t, count, s, struct{}{}, gonso.InProcess()); again != [2]int{2, shared[1]} {
			t.Errorf("%s: %v, then %v", name, shared, again)
		}
	}
}

func TestCloseEndsIsolatedCalls(t *testing.T) {
	testenv.Need(t, testenv.Process)
	testenv.Leaks(t)
	s := new(gonso.Set)
	dir := t.TempDir()
	errs := make(chan error, 3)
	for i := range 3 {
		go func() {
			_, err := wait.Do(t.Context(), s, filepath.Join(dir, fmt.Sprint(i)), gonso.Isolated())
			errs <- err
		}()
	}
	testenv.Eventually(t, "the functions run", func() bool {
		made, _ := os.ReadDir(dir)
		return len(made) == 3
	})
	s.Close()
	for range 3 {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	if _, err := wait.Do(t.Context(), s, filepath.Join(dir, "x"), gonso.Isolated()); !errors.Is(err, gonso.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Who ignores a cancelled context is killed and told; who shared its worker is
// told that it was not its fault.
func TestInnocentCallsAreToldThatTheyMayBeRetried(t *testing.T) {
	s := newSet(t, gonso.User)
	setWorker(t, s, gonso.Worker{Grace: 100 * time.Millisecond, Stderr: io.Discard})
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	start := func(ctx context.Context, name string) <-chan error {
		err := make(chan error, 1)
		go func() {
			_, e := ignore.Do(ctx, s, filepath.Join(dir, name))
			err <- e
		}()
		testenv.Eventually(t, "it runs", func() bool {
			_, err := os.Stat(filepath.Join(dir, name))
			return err == nil
		})
		return err
	}
	guilty, innocent := start(ctx, "guilty"), start(t.Context(), "innocent")
	pid := call(t, workerPID, s, struct{}{})
	cancel()
	err := <-guilty
	if !errors.Is(err, context.Canceled) || !errors.Is(err, gonso.ErrWorkerDied) || strings.Contains(err.Error(), "another") {
		t.Errorf("the guilty: %v", err)
	}
	err = <-innocent
	if errors.Is(err, context.Canceled) || !errors.Is(err, gonso.ErrWorkerDied) || !strings.Contains(err.Error(), "this call may be retried") {
		t.Errorf("the innocent: %v", err)
	}
	if !gone(pid) || call(t, workerPID, s, struct{}{}) == pid {
		t.Error("the worker is still there")
	}
	// Killed it is only if it must be.
	ctx, cancel = context.WithCancel(t.Context())
	errs := waitIn(t, ctx, s, 1)
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) || errors.Is(err, gonso.ErrWorkerDied) {
		t.Errorf("one that returned in time: %v", err)
	}
}

// children are the processes that this one has started, at the moment.
func children() (pids []int) {
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, path := range tasks {
		b, _ := os.ReadFile(path)
		for _, f := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// killChild kills a child, at whatever stage of its life, and nobody else.
func killChild() bool {
	for _, pid := range children() {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		// The number may have been another's by the time that it was opened.
		_, stat, _ := strings.Cut(contentOf(fmt.Sprintf("/proc/%d/stat", pid)), ") ")
		f := strings.Fields(stat)
		ours := len(f) > 1 && f[0] != "Z" && f[1] == strconv.Itoa(os.Getpid())
		killed := ours && unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
		unix.Close(fd)
		if killed {
			return true
		}
	}
	return false
}

func contentOf(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}

var _ = testenv.Long(TestKilledWorkersCannotLoseACall)

// A worker killed at any moment, while it starts too: every call gets a result
// or an error that says so, none hangs, the next ones are served, and nothing is
// left behind.
func TestKilledWorkersCannotLoseACall(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS)
	if testenv.Has(testenv.Root) && len(children()) > 0 {
		t.Fatalf("children of other tests: %v", children())
	}
	testenv.Leaks(t)
	kills := testenv.Times(1000, 50)
	s := newSet(t, gonso.User)
	defer s.Close()
	setWorker(t, s, gonso.Worker{Stderr: io.Discard})
	begin := time.Now()
	call(t, workerPID, s, struct{}{})
	between := max(25*time.Millisecond, 2*time.Since(begin)) // at most, so that some get to their calls where starting is slow

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var served, died, longest atomic.Int64
	var callers sync.WaitGroup
	for i := range 64 {
		callers.Go(func() {
			for ctx.Err() == nil {
				// Not stop's: what ends is the worker, not the wish for an answer.
				callCtx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				begin := time.Now()
				d := time.Duration(rand.IntN(3000)) * time.Microsecond
				if i%4 == 0 {
					d = 0
				}
				_, err := linger.Do(callCtx, s, d)
				cancel()
				if took := int64(time.Since(begin)); took > longest.Load() {
					longest.Store(took)
				}
				switch {
				case err == nil:
					served.Add(1)
				case errors.Is(err, gonso.ErrWorkerDied) && !errors.Is(err, context.DeadlineExceeded):
					died.Add(1)
				default:
					t.Errorf("neither a result nor the worker's death: %v", err)
					return
				}
			}
		})
	}
	begin = time.Now()
	const hang = time.Minute
	limit := time.NewTimer(hang)
	defer limit.Stop()
	for n := 0; n < kills && !t.Failed(); {
		select {
		case <-time.After(rand.N(between)):
		case <-limit.C:
			t.Errorf("after %d kills there is no worker for %v", n, hang)
			n = kills
		}
		if killChild() {
			n++
			limit.Reset(hang)
		}
	}
	took := time.Since(begin)
	stop()
	over := make(chan struct{})
	go func() { callers.Wait(); close(over) }()
	select {
	case <-over:
	case <-time.After(40 * time.Second):
		t.Fatal("calls hang")
	}
	call(t, workerPID, s, struct{}{})
	t.Logf("%d kills in %v: %d calls served, %d died, the longest took %v", kills, took.Round(time.Millisecond), served.Load(), died.Load(), time.Duration(longest.Load()).Round(time.Millisecond))
	if served.Load() == 0 || died.Load() == 0 {
		t.Error("not both happened")
	}
}
