package reexec

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/wire"
)

// Clean functions run on the goroutine that reads calls.
var opened struct {
	sync.Once
	gate chan struct{}
}

func gate() chan struct{} {
	opened.Do(func() { opened.gate = make(chan struct{}) })
	return opened.gate
}

func init() {
	child.Register("clean echo", func(_ context.Context, in codec.Value) *wire.Outcome { return returned(string(in.Bytes)) }, child.Traits{Clean: true})
	child.Register("clean goexit", func(context.Context, codec.Value) *wire.Outcome { runtime.Goexit(); return nil }, child.Traits{Clean: true})
	child.Register("clean panic", func(context.Context, codec.Value) *wire.Outcome { panic("on purpose") }, child.Traits{Clean: true})
	child.Register("clean wait", func(ctx context.Context, in codec.Value) *wire.Outcome {
		select {
		case <-gate():
			return returned("opened")
		case <-ctx.Done():
			return returned("cancelled")
		}
	}, child.Traits{Clean: true})
	child.Register("clean open", func(context.Context, codec.Value) *wire.Outcome {
		close(gate())
		return returned("")
	}, child.Traits{Clean: true})
}

// A function that waits for another call gets it, wherever it runs itself.
func TestCleanFunctionCannotHoldUpOtherCalls(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	mustCall(t, w, "clean echo", "")
	first := goCall(t.Context(), w, "clean wait", "")
	if got := mustCall(t, w, "clean echo", "x"); got != "x" {
		t.Errorf("%q", got)
	}
	mustCall(t, w, "clean open", "")
	if r := receive(t, "the call that waits", first); r.err != nil || string(r.out.Value.Bytes) != "opened" {
		t.Errorf("%+v", r)
	}
}

func TestCleanFunctionIsCancelled(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	c := goCall(ctx, w, "clean wait", "")
	mustCall(t, w, "clean echo", "") // it has been read
	cancel()
	if r := receive(t, "the cancelled call", c); r.err != nil || string(r.out.Value.Bytes) != "cancelled" {
		t.Errorf("%+v", r)
	}
}

func TestCleanFunctionCannotEndTheReading(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	pid := workerPID(t, w)
	for range 100 {
		for name, want := range map[string]wire.OutcomeKind{"clean goexit": wire.Goexited, "clean panic": wire.Panicked, "clean echo": wire.Returned} {
			out, err := w.Call(t.Context(), name, nil)
			if err != nil || out.Kind != want {
				t.Fatalf("%s: %+v, %v", name, out, err)
			}
		}
	}
	if again := workerPID(t, w); again != pid {
		t.Errorf("worker %d became %d", pid, again)
	}
}

// The callers read for each other: each gets its own answer, with others'
// waiting in between, and none is left without a reader.
func TestConcurrentCleanCalls(t *testing.T) {
	w, _ := newWorker(t, WorkerOptions{})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 200 {
				name := []string{"clean echo", "echo"}[j%2]
				want := strconv.Itoa(i) + "/" + strconv.Itoa(j)
				out, err := w.Call(t.Context(), name, []byte(want))
				if err != nil || string(out.Value.Bytes) != want {
					t.Errorf("%s: %+v, %v", name, out, err)
					return
				}
			}
		})
	}
	wg.Wait()
}
