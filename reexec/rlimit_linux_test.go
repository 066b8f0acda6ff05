package reexec

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// A worker that its own limits keep from coming up: they are named, and only where they may be why.
func TestLimitOfAWorkerCannotEndItUnnamed(t *testing.T) {
	for name, c := range map[string]struct {
		limits      []Rlimit
		path        string
		want, never string
	}{
		"a step":       {[]Rlimit{{unix.RLIMIT_NOFILE, 3, 3}, {unix.RLIMIT_CORE, 0, 0}}, "", "possibly because of Worker.Rlimits: RLIMIT_NOFILE is 3", "CORE"},
		"its runtime":  {[]Rlimit{{unix.RLIMIT_AS, 1 << 20, 1 << 20}}, "", "possibly because of Worker.Rlimits: RLIMIT_AS is 1048576", ""},
		"no worker":    {[]Rlimit{{unix.RLIMIT_CORE, 0, 0}}, "/bin/true", "/bin/true", "Rlimits"},
		"it fails":     {[]Rlimit{{unix.RLIMIT_CORE, 0, 0}, {unix.RLIMIT_MEMLOCK, 0, 0}}, "/bin/false", "/bin/false", "Rlimits"},
		"may be why":   {[]Rlimit{{unix.RLIMIT_CPU, 5, 5}, {unix.RLIMIT_NOFILE, 64, 64}}, "/bin/false", "possibly because of Worker.Rlimits: RLIMIT_NOFILE is 64", "CPU"},
		"no such file": {[]Rlimit{{unix.RLIMIT_NOFILE, 64, 64}}, "/nowhere", "/nowhere", "possibly because"},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := newWorker(t, WorkerOptions{Rlimits: c.limits, Path: c.path})
			_, err := w.Call(t.Context(), "pid", nil)
			if err == nil || !strings.Contains(err.Error(), c.want) || c.never != "" && strings.Contains(err.Error(), c.never) {
				t.Errorf("%v; want %q in it, and not %q", err, c.want, c.never)
			}
		})
	}
	le := &LaunchError{Op: "setns", Err: unix.EPERM}
	if err := suspecting([]Rlimit{{unix.RLIMIT_NOFILE, 3, 3}}, le); err != error(le) {
		t.Errorf("EPERM: %v", err)
	}
}

// No function runs in a worker that is stopped, and so none ignores its context.
func TestStoppedWorkerCannotReadAsABusyFunction(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{Grace: 50 * time.Millisecond})
	pid := workerPID(t, w)
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is stopped", func() bool { return isStopped(pid) })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := w.Call(ctx, "pid", nil)
	if d := died(t, err); !errors.Is(d, errStopped) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if isStopped(os.Getpid()) {
		t.Error("this process is stopped")
	}
}

// Whose time is over before a thread has begun to start it waits for no file system.
func TestStartThatHasNotBegunCannotBlameAFileSystem(t *testing.T) {
	needProcess(t)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 0, os.ErrDeadlineExceeded)
	defer cancel()
	<-ctx.Done()
	for range 100 { // select takes either
		err := giveToLastingThread(ctx, func() bool { return false })
		if err == nil {
			continue
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, sys.ErrLeftBehind) || strings.Contains(err.Error(), "FUSE") {
			t.Fatal(err)
		}
	}
	w, _ := newWorker(t, WorkerOptions{StartTimeout: time.Nanosecond})
	if _, err := w.Call(t.Context(), "pid", nil); err == nil || !strings.Contains(err.Error(), "did not start within 1ns") || strings.Contains(err.Error(), "FUSE") {
		t.Error(err)
	}
}
