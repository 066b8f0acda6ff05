package gonso

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gonso/gonso/internal/testenv"
)

// Most of these tests run in a bubble of testing/synctest: time in it goes on
// when all goroutines wait, and the test fails if one is left at its end. The
// Sets are empty ones, which every system has.

// maker is a function for a Pool that the test directs.
type maker struct {
	// order, if there is one, is received from by each call, which does what it gets.
	order chan func(context.Context) (*Set, error)

	mu     sync.Mutex
	sets   []*Set // that it made, in order
	called []time.Duration
	begun  time.Time
	now    int // calls under way
	most   int
}

func newMaker() *maker { return &maker{begun: time.Now()} }

func directed() *maker {
	m := newMaker()
	m.order = make(chan func(context.Context) (*Set, error))
	return m
}

func (m *maker) make(ctx context.Context) (*Set, error) {
	m.mu.Lock()
	m.called = append(m.called, time.Since(m.begun))
	m.now++
	m.most = max(m.most, m.now)
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.now--
		m.mu.Unlock()
	}()
	if m.order == nil {
		return m.good(ctx)
	}
	select {
	case f := <-m.order:
		return f(ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m *maker) good(context.Context) (*Set, error) {
	s := new(Set)
	m.mu.Lock()
	m.sets = append(m.sets, s)
	m.mu.Unlock()
	return s, nil
}

func (m *maker) calls() []time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]time.Duration(nil), m.called...)
}

func bad(err error) func(context.Context) (*Set, error) {
	return func(context.Context) (*Set, error) { return nil, err }
}

func newPool(t testing.TB, f func(context.Context) (*Set, error), opts PoolOptions) *Pool {
	t.Helper()
	p, err := NewPool(f, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// isClosed reports whether s is, on other systems always want.
func isClosed(s *Set, want bool) bool {
	if runtime.GOOS != "linux" {
		return want
	}
	return s.String() == "{closed}"
}

type got struct {
	s   *Set
	err error
}

// goGet starts a Get, which waits when goGet returns or has returned.
func goGet(ctx context.Context, p *Pool) <-chan got {
	c := make(chan got, 1)
	go func() {
		s, err := p.Get(ctx)
		c <- got{s, err}
	}()
	synctest.Wait()
	return c
}

// wantStats compares all but Err.
func wantStats(t testing.TB, p *Pool, want PoolStats) {
	t.Helper()
	synctest.Wait()
	have := p.Stats()
	if have.Err = nil; have != want {
		t.Errorf("stats %+v\n want %+v", have, want)
	}
}

// wantNow checks that a Get has returned.
func wantNow(t testing.TB, c <-chan got) got {
	t.Helper()
	synctest.Wait()
	select {
	case g := <-c:
		return g
	default:
		t.Error("Get still waits")
		return got{}
	}
}

func wantWaiting(t testing.TB, c <-chan got) {
	t.Helper()
	synctest.Wait()
	select {
	case g := <-c:
		t.Errorf("Get returned %v, %v", g.s, g.err)
	default:
	}
}

var errMaking = errors.New("making failed")

func TestPoolKeepsItsSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMaker()
		p := newPool(t, m.make, PoolOptions{Size: 3, Parallel: 2})
		wantStats(t, p, PoolStats{Ready: 3, Made: 3})
		seen := make(map[*Set]bool)
		for i := range uint64(10) {
			s, err := p.Get(t.Context())
			if err != nil || s == nil || seen[s] {
				t.Fatalf("Get %d: %p, %v; given before: %v", i, s, err, seen[s])
			}
			seen[s] = true
			wantStats(t, p, PoolStats{Ready: 3, Made: 4 + i, Given: 1 + i})
		}
		p.Close()
		for _, s := range m.sets {
			if isClosed(s, !seen[s]) == seen[s] {
				t.Errorf("a Set that was given (%v) is %v", seen[s], s)
			}
		}
		for s := range seen {
			s.Close()
		}
		wantStats(t, p, PoolStats{Made: 13, Given: 10})
	})
}

func TestPoolDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := directed()
		p := newPool(t, m.make, PoolOptions{})
		wantStats(t, p, PoolStats{Creating: min(4, runtime.GOMAXPROCS(0), 8)})
		c := goGet(t.Context(), p)
		if g := wantAfter(t, c, 30*time.Second); !errors.Is(g.err, context.DeadlineExceeded) {
			t.Errorf("after the default Timeout: %v", g.err)
		}
	})
}

// wantAfter checks that a Get returns after d, and not before.
func wantAfter(t testing.TB, c <-chan got, d time.Duration) got {
	t.Helper()
	begun := time.Now()
	g := <-c
	if took := time.Since(begun); took != d {
		t.Errorf("Get returned after %v, want %v", took, d)
	}
	return g
}

func TestPoolRefusesWhatCannotBeMeant(t *testing.T) {
	for _, o := range []PoolOptions{{Size: -1}, {Parallel: -1}, {Timeout: -1}} {
		if p, err := NewPool(newMaker().make, o); p != nil || !errors.Is(err, os.ErrInvalid) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if p, err := NewPool(nil, PoolOptions{}); p != nil || !errors.Is(err, os.ErrInvalid) {
		t.Errorf("nil function: %v", err)
	}
	for _, p := range []*Pool{nil, new(Pool)} {
		if s, err := p.Get(t.Context()); s != nil || !errors.Is(err, os.ErrInvalid) {
			t.Errorf("Get of %v: %v", p == nil, err)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	p := newPool(t, newMaker().make, PoolOptions{})
	if s, err := p.Get(nil); s != nil || !errors.Is(err, os.ErrInvalid) { //nolint:staticcheck // it is what is tested
		t.Errorf("Get with a nil context: %v", err)
	}
}

func TestPoolGivesInOrderOfWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := directed()
		p := newPool(t, m.make, PoolOptions{Size: 1, Parallel: 3})
		var waiting []<-chan got
		for range 5 {
			waiting = append(waiting, goGet(t.Context(), p))
		}
		wantStats(t, p, PoolStats{Creating: 3, Waiting: 5})
		for i, c := range waiting {
			m.order <- m.good
			if g := wantNow(t, c); g.err != nil || g.s != m.sets[i] {
				t.Errorf("Get %d: %p, %v", i, g.s, g.err)
			}
			for _, later := range waiting[i+1:] {
				wantWaiting(t, later)
			}
		}
		wantStats(t, p, PoolStats{Creating: 1, Made: 5, Given: 5})
	})
}

// The worker of the newest is the most likely to run still.
func TestPoolGivesTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMaker()
		p := newPool(t, m.make, PoolOptions{Size: 3, Parallel: 1})
		synctest.Wait()
		s, err := p.Get(t.Context())
		synctest.Wait()
		if err != nil || s != m.sets[2] {
			t.Errorf("%p, %v; made were %p", s, err, m.sets)
		}
	})
}

// Old gonso's Pool waited on a sync.Cond that cancelling did not wake.
func TestCancelledGetCannotBeLeftAsleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := directed()
		p := newPool(t, m.make, PoolOptions{Size: 1, Parallel: 1, Timeout: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		c := goGet(ctx, p)
		wantWaiting(t, c)
		cancel()
		if g := wantNow(t, c); g.s != nil || g.err != context.Canceled {
			t.Errorf("cancelled: %v, %v", g.s, g.err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if g := wantAfter(t, goGet(ctx, p), time.Minute); g.s != nil || g.err != context.DeadlineExceeded {
			t.Errorf("with a deadline: %v, %v", g.s, g.err)
		}
		if s, err := p.Get(ctx); s != nil || err != context.DeadlineExceeded {
			t.Errorf("cancelled before: %v, %v", s, err)
		}
		wantStats(t, p, PoolStats{Creating: 1})
	})
}

func TestCancelledGetCannotLoseASet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := directed()
		p := newPool(t, m.make, PoolOptions{Size: 1, Parallel: 1, Timeout: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		first, second := goGet(ctx, p), goGet(t.Context(), p)
		cancel()
		wantNow(t, first)
		m.order <- m.good
		if g := wantNow(t, second); g.err != nil || g.s != m.sets[0] {
			t.Errorf("the next Get: %p, %v", g.s, g.err)
		}

		// With nobody left to have it, it stays; so do those beyond Size.
		q := newPool(t, m.make, PoolOptions{Size: 1, Parallel: 3, Timeout: time.Hour})
		ctx, cancel = context.WithCancel(t.Context())
		for range 3 {
			goGet(ctx, q)
		}
		wantStats(t, q, PoolStats{Creating: 3, Waiting: 3})
		p.Close() // takes no order from here on
		cancel()
		wantStats(t, q, PoolStats{Creating: 3})
		for range 3 {
			m.order <- m.good
		}
		wantStats(t, q, PoolStats{Ready: 3, Made: 3})
		if s, err := q.Get(cancelledContext()); s != nil || err != context.Canceled {
			t.Errorf("cancelled before: %v, %v", s, err)
		}
		for i := range uint64(2) {
			if _, err := q.Get(t.Context()); err != nil {
				t.Error(err)
			}
			wantStats(t, q, PoolStats{Ready: 2 - int(i), Made: 3, Given: 1 + i})
		}
	})
}

func cancelledContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestPoolClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := directed()
		p := newPool(t, m.make, PoolOptions{Size: 2, Parallel: 2})
		m.order <- m.good
		synctest.Wait()
		given, err := p.Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m.order <- m.good
		m.order <- m.good
		wantStats(t, p, PoolStats{Ready: 2, Made: 3, Given: 1})

		q := newPool(t, m.make, PoolOptions{Size: 1, Parallel: 1})
		waits := []<-chan got{goGet(t.Context(), q), goGet(t.Context(), q)}
		var closers sync.WaitGroup
		for range 3 {
			for _, pool := range []*Pool{p, q} {
				closers.Go(func() {
					if err := pool.Close(); err != nil {
						t.Error(err)
					}
				})
			}
		}
		closers.Wait()
		for _, c := range waits {
			if g := wantNow(t, c); g.s != nil || !errors.Is(g.err, ErrClosed) || !strings.Contains(g.err.Error(), "Pool is closed") {
				t.Errorf("Get that waited: %v, %v", g.s, g.err)
			}
		}
		for i, s := range m.sets {
			if isClosed(s, i > 0) != (s != given) {
				t.Errorf("Set %d is %v", i, s)
			}
		}
		if _, err := p.Get(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Get after Close: %v", err)
		}
		wantStats(t, p, PoolStats{Made: 3, Given: 1})
		wantStats(t, q, PoolStats{})
		given.Close()
	})
}

// hanging makes a function that heeds nothing until it is let go.
func hanging(letGo <-chan struct{}, then func(context.Context) (*Set, error)) func(context.Context) (*Set, error) {
	return func(ctx context.Context) (*Set, error) {
		<-letGo
		return then(ctx)
	}
}

func TestCloseCannotWaitForeverForAFunctionThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMaker()
		letGo := make(chan struct{})
		p := newPool(t, hanging(letGo, m.make), PoolOptions{Size: 3, Parallel: 3})
		c := goGet(t.Context(), p)
		begun := time.Now()
		p.Close()
		if took := time.Since(begun); took != poolGrace {
			t.Errorf("Close took %v", took)
		}
		if g := wantNow(t, c); !errors.Is(g.err, ErrClosed) {
			t.Error(g.err)
		}
		p.Close()
		close(letGo)
		synctest.Wait()
		if len(m.sets) != 3 {
			t.Errorf("%d Sets came late", len(m.sets))
		}
		for _, s := range m.sets {
			if !isClosed(s, true) {
				t.Errorf("a Set that came after Close is open: %v", s)
			}
		}
	})
}

// Where the function returns once it is cancelled, Close has waited for it.
func TestCloseLeavesNoCallBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMaker()
		p := newPool(t, func(ctx context.Context) (*Set, error) {
			<-ctx.Done()
			<-time.After(time.Second) // of the bubble's clock
			return m.make(context.Background())
		}, PoolOptions{Size: 1})
		synctest.Wait()
		begun := time.Now()
		p.Close()
		if took := time.Since(begun); took != time.Second || len(m.sets) != 1 || !isClosed(m.sets[0], true) {
			t.Errorf("Close took %v; Sets: %v", took, m.sets)
		}
	})
}

// An error may be chance, so it is told to one; two in a row are told to all.
func TestGetCannotWaitForeverOnAFunctionThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := directed()
		p := newPool(t, m.make, PoolOptions{Size: 1, Parallel: 2})
		var waiting []<-chan got
		for range 6 {
			waiting = append(waiting, goGet(t.Context(), p))
		}
		m.order <- bad(errMaking)
		if g := wantNow(t, waiting[0]); g.err != errMaking {
			t.Errorf("the first: %v", g.err)
		}
		m.order <- m.good
		if g := wantNow(t, waiting[1]); g.err != nil {
			t.Errorf("the second: %v", g.err)
		}
		wantStats(t, p, PoolStats{Creating: 2, Waiting: 4, Made: 1, Failed: 1, Given: 1})
		m.order <- bad(errMaking)
		if g := wantNow(t, waiting[2]); g.err != errMaking {
			t.Errorf("the third: %v", g.err)
		}
		other := errors.New("something else")
		m.order <- bad(other)
		for _, c := range waiting[3:] {
			if g := wantNow(t, c); g.err != other {
				t.Errorf("the others: %v", g.err)
			}
		}
		if err := p.Stats().Err; err != other {
			t.Errorf("Stats have %v", err)
		}
	})
}

// Making ahead waits longer with each failure, up to a limit, and begins anew
// after a success.
func TestPoolPausesBetweenFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMaker()
		var works atomic.Bool
		p := newPool(t, func(ctx context.Context) (*Set, error) {
			s, err := m.make(ctx)
			if !works.Load() {
				return s, errMaking
			}
			return s, err
		}, PoolOptions{Size: 3, Parallel: 1})
		testenv.Pass(40 * time.Second)
		synctest.Wait()
		want, at := []time.Duration{0}, time.Duration(0)
		for pause := firstPause; at+pause < 40*time.Second; pause = min(2*pause, lastPause) {
			at += pause
			want = append(want, at)
		}
		if have := m.calls(); fmt.Sprint(have) != fmt.Sprint(want) {
			t.Errorf("tried after %v\nwant        %v", have, want)
		}
		for _, s := range m.sets {
			if !isClosed(s, true) {
				t.Error("a Set that came with an error is open")
			}
		}
		if have := p.Stats(); have.Err != errMaking || int(have.Failed) != len(want) {
			t.Errorf("%+v", have)
		}

		works.Store(true)
		testenv.Pass(lastPause)
		wantStats(t, p, PoolStats{Ready: 3, Made: 3, Failed: uint64(len(want))})
		if err := p.Stats().Err; err != nil {
			t.Error(err)
		}
		works.Store(false)
		m.mu.Lock()
		m.called, m.begun = nil, time.Now()
		m.mu.Unlock()
		if _, err := p.Get(t.Context()); err != nil {
			t.Error(err)
		}
		testenv.Pass(firstPause)
		synctest.Wait()
		if have := m.calls(); fmt.Sprint(have) != fmt.Sprint([]time.Duration{0, firstPause}) {
			t.Errorf("tried after %v", have)
		}
	})
}

func TestGetCannotGetAnOldError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var tries atomic.Int64
		var works atomic.Bool
		m := newMaker()
		p := newPool(t, func(ctx context.Context) (*Set, error) {
			if works.Load() {
				return m.make(ctx)
			}
			return nil, fmt.Errorf("try %d", tries.Add(1))
		}, PoolOptions{Size: 1})
		testenv.Pass(15 * time.Second)
		synctest.Wait()
		for range 3 {
			want := fmt.Sprintf("try %d", tries.Load()+1)
			if g := wantAfter(t, goGet(t.Context(), p), 0); g.err == nil || g.err.Error() != want {
				t.Errorf("%v; want %s", g.err, want)
			}
		}
		// Gets are answered at once, and make no pause shorter or longer.
		works.Store(true)
		if g := wantAfter(t, goGet(t.Context(), p), 0); g.err != nil {
			t.Error(g.err)
		}
		wantStats(t, p, PoolStats{Ready: 1, Made: 2, Given: 1, Failed: uint64(tries.Load())})
	})
}

func TestPoolSurvivesWhatItsFunctionDoes(t *testing.T) {
	closed := new(Set)
	closed.Close()
	withError := new(Set)
	for name, c := range map[string]struct {
		f    func(context.Context) (*Set, error)
		good func(error) bool
	}{
		"panics": {func(context.Context) (*Set, error) { panic("on purpose") }, func(err error) bool {
			var pe *PanicError
			return errors.As(err, &pe) && pe.Value == "on purpose" && strings.Contains(string(pe.Stack), "pool_test.go")
		}},
		"panics with an error": {func(context.Context) (*Set, error) { panic(errMaking) }, func(err error) bool { return errors.Is(err, errMaking) }},
		"exits":                {func(context.Context) (*Set, error) { runtime.Goexit(); return nil, nil }, func(err error) bool { return errors.Is(err, ErrGoexit) }},
		"returns nothing":      {bad(nil), func(err error) bool { return errors.Is(err, errNoSet) }},
		"returns a closed Set": {func(context.Context) (*Set, error) { return closed, nil }, func(err error) bool {
			return runtime.GOOS != "linux" || errors.Is(err, errClosedSet)
		}},
		"returns a Set and an error": {func(context.Context) (*Set, error) { return withError, errMaking }, func(err error) bool {
			return err == errMaking && isClosed(withError, true)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := directed()
				p := newPool(t, m.make, PoolOptions{Size: 1})
				get := goGet(t.Context(), p)
				m.order <- c.f
				if g := wantNow(t, get); !c.good(g.err) {
					t.Errorf("%v", g.err)
				}
				get = goGet(t.Context(), p)
				m.order <- m.good
				if g := wantNow(t, get); g.err != nil {
					t.Errorf("the next: %v", g.err)
				}
			})
		})
	}
}

func TestPoolTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cleanup := errors.New("something was in the way")
		p := newPool(t, func(ctx context.Context) (*Set, error) {
			<-ctx.Done()
			return nil, fmt.Errorf("%w: %w", cleanup, ctx.Err())
		}, PoolOptions{Size: 1, Parallel: 1, Timeout: time.Minute})
		g := wantAfter(t, goGet(t.Context(), p), time.Minute)
		if !errors.Is(g.err, context.DeadlineExceeded) || !strings.Contains(g.err.Error(), "had not made a Set within 1m0s") {
			t.Error(g.err)
		}
		// It has returned, so the next try has begun after a pause.
		testenv.Pass(firstPause)
		wantStats(t, p, PoolStats{Creating: 1, Failed: 1})
	})
}

// A call that hangs takes room only for its time, and what hangs is limited.
func TestHangingFunctionCannotBlockThePool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const parallel, most = 2, 2 * hungFactor
		m := directed()
		letGo := make(chan struct{})
		p := newPool(t, m.make, PoolOptions{Size: 1, Parallel: parallel, Timeout: time.Minute})
		// One hangs, and the others go on.
		hung := hanging(letGo, m.good)
		m.order <- hung
		c := goGet(t.Context(), p)
		m.order <- m.good
		if g := wantNow(t, c); g.err != nil {
			t.Error(g.err)
		}
		wantStats(t, p, PoolStats{Creating: 1, Made: 1, Given: 1})
		testenv.Pass(time.Minute)
		wantStats(t, p, PoolStats{Hung: 1, Made: 1, Given: 1, Failed: 1})
		m.order <- m.good // after a pause
		wantStats(t, p, PoolStats{Ready: 1, Hung: 1, Made: 2, Given: 1, Failed: 1})

		// All that are begun hang.
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for {
				select {
				case m.order <- hung:
				case <-ctx.Done():
					return
				}
			}
		}()
		if _, err := p.Get(t.Context()); err != nil {
			t.Error(err)
		}
		g := wantAfter(t, goGet(t.Context(), p), time.Minute)
		if !errors.Is(g.err, context.DeadlineExceeded) {
			t.Error(g.err)
		}
		testenv.Pass(time.Hour)
		wantStats(t, p, PoolStats{Hung: most, Made: 2, Given: 2, Failed: most})
		if m.most != most {
			t.Errorf("%d calls at once", m.most)
		}
		// Nothing can be made, and nobody waits for it.
		g = wantAfter(t, goGet(t.Context(), p), 0)
		if !errors.Is(g.err, context.DeadlineExceeded) || !strings.Contains(g.err.Error(), fmt.Sprint(most, " calls of the Pool's function have not returned")) {
			t.Error(g.err)
		}
		cancel()

		// They come back, with Sets that nobody waits for any more.
		close(letGo)
		synctest.Wait()
		for _, s := range m.sets[2:] {
			if !isClosed(s, true) {
				t.Errorf("a Set that came too late is open: %v", s)
			}
		}
		c = goGet(t.Context(), p)
		m.order <- m.good
		if g := wantNow(t, c); g.err != nil {
			t.Error(g.err)
		}
		m.order <- m.good
		wantStats(t, p, PoolStats{Ready: 1, Made: 4, Given: 3, Failed: most})
	})
}

func TestPoolMakesNoMoreAtOnceThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMaker()
		p := newPool(t, func(ctx context.Context) (*Set, error) {
			s, err := m.make(ctx)
			m.mu.Lock()
			m.now++
			m.most = max(m.most, m.now)
			m.mu.Unlock()
			<-time.After(time.Second) // of the bubble's clock
			m.mu.Lock()
			m.now--
			m.mu.Unlock()
			return s, err
		}, PoolOptions{Size: 20, Parallel: 3, Timeout: 2 * time.Second})
		wantStats(t, p, PoolStats{Creating: 3})
		var wg sync.WaitGroup
		for range 30 {
			wg.Go(func() {
				if _, err := p.Get(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		testenv.Pass(time.Minute)
		wantStats(t, p, PoolStats{Ready: 20, Made: 50, Given: 30})
		if m.most != 3 {
			t.Errorf("%d at once", m.most)
		}
	})
}

// Whatever the function does with the Pool that called it, nothing locks up.
func TestPoolFunctionCannotMeetALock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p *Pool
		there := make(chan struct{})
		f := func(ctx context.Context) (*Set, error) {
			<-there
			if p.Stats().Creating == 0 {
				t.Error("it is not counted")
			}
			if _, err := p.Get(cancelledContext()); err != context.Canceled {
				t.Error(err)
			}
			if p.Stats().Made > 0 {
				p.Close() // waits for this very call, within bounds
			}
			return new(Set), nil
		}
		p = newPool(t, f, PoolOptions{Size: 2, Parallel: 1})
		close(there)
		<-p.done
		if _, err := p.Get(t.Context()); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// Ten thousand Gets, most of which are cancelled at some point, and a function
// that fails at times: every Set has one owner or was closed.
func TestTenThousandGetsCannotLoseASet(t *testing.T) {
	var mu sync.Mutex
	made := make(map[*Set]bool)
	p := newPool(t, func(ctx context.Context) (*Set, error) {
		switch rand.IntN(50) {
		case 0:
			return nil, errMaking
		case 1:
			return new(Set), errMaking
		case 2:
			panic("on purpose")
		}
		s := new(Set)
		mu.Lock()
		made[s] = true
		mu.Unlock()
		runtime.Gosched()
		return s, nil
	}, PoolOptions{Size: 2, Parallel: 4})

	const gets, parallel = 10_000, 32
	var next, cancelled, failed atomic.Int64
	owned := make(map[*Set]bool)
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for next.Add(1) <= gets {
				s, err := getAndCancel(p)
				var pe *PanicError
				switch {
				case err == nil:
					mu.Lock()
					if owned[s] {
						t.Error("a Set has two owners")
					}
					owned[s] = true
					mu.Unlock()
				case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
					cancelled.Add(1)
				case errors.Is(err, errMaking), errors.As(err, &pe):
					failed.Add(1)
				default:
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	p.Close()
	stats := p.Stats()
	t.Logf("%d given, %d cancelled, %d failed; %+v", len(owned), cancelled.Load(), failed.Load(), stats)
	if int(stats.Given) != len(owned) || stats.Ready != 0 || stats.Waiting != 0 || stats.Creating != 0 || cancelled.Load() == 0 {
		t.Errorf("%d are owned: %+v", len(owned), stats)
	}
	for s := range made {
		if isClosed(s, !owned[s]) == owned[s] {
			t.Errorf("a Set that was given (%v) is %v", owned[s], s)
		}
	}
}

// getAndCancel is a Get that is cancelled at a random moment, if it takes long.
func getAndCancel(p *Pool) (*Set, error) {
	switch rand.IntN(4) {
	case 0:
		return p.Get(context.Background())
	case 1:
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(rand.IntN(200))*time.Microsecond)
		defer cancel()
		return p.Get(ctx)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		for range rand.IntN(20) {
			runtime.Gosched()
		}
		cancel()
	}()
	return p.Get(ctx)
}
