package reexec

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// warm gives the one worker that there is after Warm.
func warm(t testing.TB, w *Worker) *process {
	t.Helper()
	if err := w.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.current == nil || len(w.all) != 1 {
		t.Fatalf("after Warm there are %d workers, current %p", len(w.all), w.current)
	}
	return w.current
}

func TestWarmStartsTheWorkerOfTheNextCall(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	p := warm(t, w)
	if again := warm(t, w); again != p {
		t.Error("Warm started another one")
	}
	if pid := workerPID(t, w); pid != p.proc.Pid {
		t.Errorf("the call went to %d, Warm had started %d", pid, p.proc.Pid)
	}
	p.mu.Lock()
	if p.entered != 0 {
		t.Errorf("%d calls are counted", p.entered)
	}
	p.mu.Unlock()
}

func TestConcurrentWarmsStartOneWorker(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if err := w.Warm(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	warm(t, w)
}

// Nothing but Warm has used it, and its idle time is that of any other.
func TestWarmWorkerCannotOutliveItsIdleTime(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{Idle: 20 * time.Millisecond})
	if err := w.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the idle worker ends", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.all) == 0
	})
}

func TestWarmRefused(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Warm(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
	w.mu.Lock()
	if w.startup != nil || len(w.all) != 0 {
		t.Error("a cancelled context started a worker")
	}
	w.mu.Unlock()
	w.Close()
	if err := w.Warm(t.Context()); !errors.Is(err, ErrWorkerClosed) {
		t.Errorf("after Close: %v", err)
	}
}
