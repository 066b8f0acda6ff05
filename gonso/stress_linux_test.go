package gonso

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

var _ = testenv.Long(TestThousandSetsLeaveNothing)

// A thousand Sets made, used on both backends and closed, in parallel and with
// GC in a loop, leave nothing behind: Leaks counts descriptors, threads in
// foreign namespaces, processes, goroutines and mounts.
func TestThousandSetsLeaveNothing(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	sets := testenv.Times(1000, 100)
	const parallel = 16
	root := testenv.Has(testenv.Root)

	stopGC := make(chan struct{})
	var gc sync.WaitGroup
	gc.Go(func() {
		for {
			select {
			case <-stopGC:
				return
			default:
				runtime.GC()
			}
		}
	})
	defer gc.Wait()
	defer close(stopGC)

	var next, closures, calls atomic.Int64
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= sets || t.Failed() {
					return
				}
				if err := useSet(i, root, &closures, &calls); err != nil {
					t.Errorf("Set %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d Sets, %d closures, %d calls of functions", sets, closures.Load(), calls.Load())
	if n := int64(sets); closures.Load() < n || calls.Load() < n {
		t.Errorf("%d closures and %d calls, want at least %d of each", closures.Load(), calls.Load(), n)
	}
}

// useSet makes a Set of one of several kinds, uses it on both backends and
// closes it.
func useSet(i int, root bool, closures, calls *atomic.Int64) (err error) {
	kinds := []Type{User | Net, User | UTS, User | Mount | UTS, User | IPC | Cgroup}
	if root {
		kinds = append(kinds, Net, UTS, Net|UTS|Cgroup, IPC, Mount)
	}
	types := kinds[i%len(kinds)]
	defer func() {
		if err != nil {
			err = fmt.Errorf("%v: %w", types, err)
		}
	}()
	s, err := Unshare(types)
	if err != nil {
		return err
	}
	defer s.Close()
	want, err := s.ID(singles(types)[0])
	if err != nil {
		return err
	}

	// A thread: the Set's where it can, else one of what is home along with it.
	on, enters := s, types&User == 0
	if !enters {
		rest, err := s.Without(types)
		if err != nil {
			return err
		}
		defer rest.Close()
		if on, err = Current(); err != nil {
			return err
		}
		defer on.Close()
		if err := s.Run(func() error { return nil }); !errors.Is(err, ErrNeedsProcess) {
			return fmt.Errorf("closure: %v", err)
		}
	}
	var at string
	if err := on.Do(i%3 != 0, func() bool {
		at, err = os.Readlink("/proc/thread-self/ns/" + want.Type.String())
		return i%4 != 0
	}); err != nil {
		return err
	}
	if err != nil || (at == want.String()) != enters {
		return fmt.Errorf("closure in %s, %v; the Set has %v", at, err, want)
	}
	closures.Add(1)

	// A process. Some calls share the worker, some Sets nest, some are duplicates.
	var wg sync.WaitGroup
	errs := make([]error, 1+i%3)
	for j := range errs {
		wg.Go(func() {
			p, err := where.Do(context.Background(), s, struct{}{}, InProcess())
			if err == nil && (p.NS[want.Type.String()] != want.String() || p.PID == os.Getpid()) {
				err = fmt.Errorf("function in %s of pid %d; the Set has %v", p.NS[want.Type.String()], p.PID, want)
			}
			errs[j] = err
			calls.Add(1)
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	switch i % 10 {
	case 0: // nested
		n, err := s.Unshare(UTS)
		if err != nil {
			return err
		}
		defer n.Close()
		p, err := where.Do(context.Background(), n, struct{}{}, InProcess())
		if err != nil {
			return err
		}
		if id, _ := n.ID(UTS); p.NS["uts"] != id.String() {
			return fmt.Errorf("nested function in %s, want %v", p.NS["uts"], id)
		}
	case 1: // forgotten, not closed
		d, err := s.Dup()
		if err != nil {
			return err
		}
		if _, err := twice.Do(context.Background(), d, 1, InProcess()); err != nil {
			return err
		}
	case 2: // the worker dies
		p, err := where.Do(context.Background(), s, struct{}{}, InProcess())
		if err != nil {
			return err
		}
		if err := unix.Kill(p.PID, unix.SIGKILL); err != nil {
			return err
		}
		if _, err := twice.Do(context.Background(), s, 1, InProcess()); err != nil && !errors.Is(err, ErrWorkerDied) {
			return err
		}
	case 3: // panics and exits
		if _, err := goexits.Do(context.Background(), s, struct{}{}, InProcess()); !errors.Is(err, ErrGoexit) {
			return fmt.Errorf("Goexit in a process: %v", err)
		}
		if err := on.Run(func() error { runtime.Goexit(); return nil }); !errors.Is(err, ErrGoexit) {
			return fmt.Errorf("Goexit on a thread: %v", err)
		}
	case 4: // closed with work in flight
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := waits.Do(ctx, s, struct{}{}, InProcess())
			done <- err
		}()
		s.Close()
		if err := <-done; !errors.Is(err, context.Canceled) && !errors.Is(err, ErrClosed) {
			return fmt.Errorf("call in flight at Close: %v", err)
		}
	}
	return nil
}

var (
	goexits = Register("test.goexits", func(context.Context, struct{}) (int, error) { runtime.Goexit(); return 0, nil })
	waits   = Register("test.waits", func(ctx context.Context, _ struct{}) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
)
