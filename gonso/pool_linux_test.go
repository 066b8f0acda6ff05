package gonso_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/gonso/gonsotest"
	"github.com/gonso/gonso/internal/testenv"
)

func newPool(t testing.TB, f func(context.Context) (*gonso.Set, error), opts gonso.PoolOptions) *gonso.Pool {
	t.Helper()
	p, err := gonso.NewPool(f, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// Old gonso's Pool took a function to be run after the making of each, and
// dropped it.
func TestPoolCannotGiveASetThatIsNotPrepared(t *testing.T) {
	testenv.Leaks(t)
	gonsotest.New(t, gonso.User|gonso.UTS).Close() // where one cannot be made there is nothing to see
	const name = "prepared"
	var mu sync.Mutex
	workers := make(map[*gonso.Set]int)
	p := newPool(t, func(ctx context.Context) (*gonso.Set, error) {
		s, err := gonso.Unshare(gonso.User | gonso.UTS)
		if err != nil {
			return nil, err
		}
		if _, err := rename.Do(ctx, s, name); err != nil {
			return s, err
		}
		pid, err := workerPID.Do(ctx, s, struct{}{})
		if err != nil { // the Pool is being closed
			return s, err
		}
		mu.Lock()
		workers[s] = pid
		mu.Unlock()
		return s, nil
	}, gonso.PoolOptions{Size: 3, Parallel: 2})
	for range 8 {
		s, err := p.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := call(t, hostname, s, struct{}{}); got != name {
			t.Errorf("it is called %q", got)
		}
		mu.Lock()
		want := workers[s]
		mu.Unlock()
		if pid := call(t, workerPID, s, struct{}{}); pid != want {
			t.Errorf("its worker is %d, it was made with %d", pid, want)
		}
		s.Close()
		if !gone(want) {
			t.Error("the worker is there after Close")
		}
	}
	p.Close()
	for s, pid := range workers {
		if !gone(pid) {
			t.Errorf("worker %d of %v is there after the Pool's Close", pid, s)
		}
	}
}

var hostname = gonso.Register("pool.hostname", func(context.Context, struct{}) (string, error) { return os.Hostname() })

var _ = testenv.Long(TestTenThousandGetsLeaveNothing)

// Real namespaces, some with workers, and Gets that are cancelled at every
// moment: Leaks counts descriptors, processes, goroutines and threads.
func TestTenThousandGetsLeaveNothing(t *testing.T) {
	testenv.Leaks(t)
	types := gonso.UTS
	if !testenv.Has(testenv.Root) {
		types |= gonso.User
	}
	gonsotest.New(t, types).Close()
	gets := testenv.Times(10_000, 1_000)
	warm := testenv.Has(testenv.Process)

	var made atomic.Int64
	p := newPool(t, func(ctx context.Context) (*gonso.Set, error) {
		s, err := gonso.Unshare(types)
		if err != nil {
			return nil, err
		}
		if warm && made.Add(1)%20 == 0 {
			return s, s.Warm(ctx)
		}
		return s, nil
	}, gonso.PoolOptions{Size: 8, Parallel: 4})

	const parallel = 64
	var next, given, cancelled atomic.Int64
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for next.Add(1) <= int64(gets) {
				s, err := getAndCancel(p)
				switch {
				case err == nil:
					given.Add(1)
					s.Close()
				case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
					cancelled.Add(1)
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	p.Close()
	stats := p.Stats()
	t.Logf("%d given, %d cancelled, %+v", given.Load(), cancelled.Load(), stats)
	if int64(stats.Given) != given.Load() || given.Load() == 0 || cancelled.Load() == 0 || stats.Failed > 0 {
		t.Errorf("%d Gets had a Set, %d were cancelled: %+v", given.Load(), cancelled.Load(), stats)
	}
}

// getAndCancel is a Get that in most cases is cancelled at a random moment.
func getAndCancel(p *gonso.Pool) (*gonso.Set, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	switch rand.IntN(8) {
	case 0: // it waits for as long as it takes
	case 1:
		ctx, cancel := context.WithTimeout(ctx, time.Duration(rand.IntN(2000))*time.Microsecond)
		defer cancel()
		return p.Get(ctx)
	default:
		go func() {
			for range rand.IntN(50) {
				runtime.Gosched()
			}
			cancel()
		}()
	}
	return p.Get(ctx)
}
