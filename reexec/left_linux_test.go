package reexec

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/testenv"
)

// holdSilent opens a file whose file system does not answer when a copy of it is closed, as exec does. What it
// returns makes the file system answer.
func holdSilent(t *testing.T) (end func()) {
	t.Helper()
	testenv.Need(t, testenv.Root)
	was := cautious.Load()
	BeCautious()
	t.Cleanup(func() { cautious.Store(was) })
	dir := t.TempDir()
	end = testenv.Silent(t, dir, testenv.Lookups|testenv.Stats|testenv.Opens|testenv.Reads)
	fd, err := unix.Open(dir+"/file", unix.O_RDONLY|unix.O_CLOEXEC, 0) // package os would have it polled
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end()
		unix.Close(fd)
	})
	return end
}

// A file of somebody else's that this program has open cannot keep a start waiting, nor the next one.
func TestOpenFileThatIsNotClosedCannotKeepStartsWaiting(t *testing.T) {
	testenv.Need(t, testenv.Root)
	create := func(ctx context.Context, unshare uint32) error {
		made, err := Create(ctx, &Creation{Unshare: unshare})
		if err == nil {
			made.Close()
		}
		return err
	}
	worker := func(ctx context.Context) error {
		w, _ := newWorker(t, WorkerOptions{Grace: grace})
		_, err := w.Call(ctx, "echo", []byte("x"))
		returnsWithin(t, grace+tolerant, "Close", w.Close)
		return err
	}
	for name, start := range map[string]func(ctx context.Context) error{
		"worker":        worker,
		"namespace":     func(ctx context.Context) error { return create(ctx, unix.CLONE_NEWUTS) },
		"pid namespace": func(ctx context.Context) error { return create(ctx, unix.CLONE_NEWPID) },
		"tool": func(ctx context.Context) error {
			_, err := RunTool(ctx, "/bin/true")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := start(t.Context()); err != nil { // what is done once in a program is done
				t.Fatal(err)
			}
			before := descriptors()
			end := holdSilent(t)
			for n := range 2 {
				t.Run(fmt.Sprint(n), func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), limit)
					defer cancel()
					var err error
					returnsWithin(t, limit+grace+tolerant, "the start", func() { err = start(ctx) })
					if !errors.Is(err, context.DeadlineExceeded) || name != "worker" && !errors.Is(err, sys.ErrLeftBehind) {
						t.Errorf("%v", err)
					}
				})
			}
			end()
			ctx, cancel := context.WithTimeout(t.Context(), testenv.Bound(20*time.Second))
			defer cancel()
			if err := start(ctx); err != nil {
				t.Errorf("afterwards: %v", err)
			}
			eventually(t, "descriptors are closed", func() bool { return len(descriptors()) <= len(before)+1 }) // and the file
		})
	}
}

// Beyond a number of starts that are left behind there are no more threads.
func TestStartsThatAreLeftBehindAreNotWithoutNumber(t *testing.T) {
	end := holdSilent(t)
	for range maxLasting + 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 2*lastingPatience)
		if _, err := RunTool(ctx, "/bin/true"); !errors.Is(err, sys.ErrLeftBehind) {
			t.Errorf("%v", err)
		}
		cancel()
	}
	lasting.Lock()
	threads := lasting.threads
	lasting.Unlock()
	if threads > maxLasting {
		t.Errorf("%d threads", threads)
	}
	end()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Bound(20*time.Second))
	defer cancel()
	if _, err := RunTool(ctx, "/bin/true"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A thread of other privileges starts what it starts itself.
func TestStartsKeepTheThreadsPrivileges(t *testing.T) {
	testenv.Need(t, testenv.Root)
	done := make(chan struct{})
	go func() {
		defer close(done)
		sys.LockThread() // and not unlocked
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			t.Error(err)
		}
		out, err := RunTool(t.Context(), "/bin/grep", "NoNewPrivs", "/proc/self/status")
		if err != nil || out != "NoNewPrivs:\t1\n" {
			t.Errorf("%q, %v", out, err)
		}
		if lookAtStarter(nil).like(t.Context()) {
			t.Error("it passes for one without")
		}
	}()
	<-done
	if out, err := RunTool(t.Context(), "/bin/grep", "NoNewPrivs", "/proc/self/status"); err != nil || out != "NoNewPrivs:\t0\n" {
		t.Errorf("elsewhere: %q, %v", out, err)
	}
	if !lookAtStarter(nil).like(t.Context()) {
		t.Error("any thread is not like those that last")
	}
}
