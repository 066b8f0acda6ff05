package gonso

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// What may and what may not happen to threads. As root closures run in foreign
// namespaces; a plain user's run at home, where the same must hold.

// threadSet is a Set whose thread can be given back.
func threadSet(t testing.TB) *Set {
	t.Helper()
	if testenv.Has(testenv.Root) {
		return unshare(t, Net|UTS)
	}
	return owned(t)(Current(Net, UTS))
}

func panicsInside(v any) func() bool { return func() bool { panic(v) } }

// A panic arrives on the goroutine of the caller, which can recover it, with
// the stack of where it happened.
func TestPanicArrivesAtCaller(t *testing.T) {
	testenv.Leaks(t)
	s := threadSet(t)
	oops := errors.New("oops")
	for name, v := range map[string]any{"error": oops, "string": "text", "value": 42} {
		tid := 0
		var pe *PanicError
		func() {
			defer func() { pe, _ = recover().(*PanicError) }()
			err := s.Do(true, func() bool {
				tid = unix.Gettid()
				return panicsInside(v)()
			})
			t.Errorf("%s: Do returned %v", name, err)
		}()
		if pe == nil || pe.Value != v || !bytes.Contains(pe.Stack, []byte("panicsInside")) {
			t.Errorf("%s: %+v", name, pe)
			continue
		}
		if !strings.Contains(pe.Error(), "panicsInside") || errors.Is(pe, oops) != (v == oops) {
			t.Errorf("%s: %v", name, pe)
		}
		wantThreadGone(t, tid)
	}
	var re runtime.Error
	func() {
		defer func() { pe, _ := recover().(*PanicError); errors.As(pe, &re) }()
		s.Run(func() error { var p *place; p.PID = 1; return nil })
	}()
	if re == nil || !strings.Contains(re.Error(), "nil pointer") {
		t.Errorf("nil dereference: %v", re)
	}
	if err := s.Run(func() error { return nil }); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Old gonso hung here.
func TestGoexitNeverHangs(t *testing.T) {
	testenv.Leaks(t)
	s := threadSet(t)
	for name, exit := range map[string]func(){
		"Goexit":    runtime.Goexit,
		"t.FailNow": func() { new(testing.T).FailNow() },
		"t.SkipNow": func() { new(testing.T).SkipNow() },
	} {
		tid := 0
		err := s.Do(true, func() bool { tid = unix.Gettid(); exit(); return true })
		if !errors.Is(err, ErrGoexit) {
			t.Errorf("%s in Do: %v", name, err)
		}
		wantThreadGone(t, tid)
		if err := s.Run(func() error { exit(); return nil }); !errors.Is(err, ErrGoexit) {
			t.Errorf("%s in Run: %v", name, err)
		}
	}
}

// What decides about the thread: the argument, the result, what f did to it.
func TestThreadIsGivenBackOrGone(t *testing.T) {
	testenv.Leaks(t)
	s := threadSet(t)
	oops := errors.New("oops")
	for name, c := range map[string]struct {
		do        func(note func()) error
		err       error
		givenBack bool
	}{
		"restore and true": {func(note func()) error { return s.Do(true, func() bool { note(); return true }) }, nil, true},
		"f returns false":  {func(note func()) error { return s.Do(true, func() bool { note(); return false }) }, nil, false},
		"restore is false": {func(note func()) error { return s.Do(false, func() bool { note(); return true }) }, nil, false},
		"both are false":   {func(note func()) error { return s.Do(false, func() bool { note(); return false }) }, nil, false},
		"Run":              {func(note func()) error { return s.Run(func() error { note(); return nil }) }, nil, true},
		"Run with error":   {func(note func()) error { return s.Run(func() error { note(); return oops }) }, oops, true},
		"left locked": {func(note func()) error {
			return s.Do(true, func() bool { note(); runtime.LockOSThread(); return true })
		}, nil, false},
		"left locked in Run": {func(note func()) error {
			return s.Run(func() error { note(); runtime.LockOSThread(); return nil })
		}, nil, false},
		"locked and unlocked": {func(note func()) error {
			return s.Run(func() error {
				note()
				runtime.LockOSThread()
				runtime.UnlockOSThread()
				return nil
			})
		}, nil, true},
		"a function":                      {func(note func()) error { return noteInThread(s, noteThread, note) }, nil, false},
		"a function that leaves it clean": {func(note func()) error { return noteInThread(s, noteThreadClean, note) }, nil, true},
		"Run and EndThread":               {func(note func()) error { return s.Run(func() error { note(); return nil }, EndThread()) }, nil, false},
		"a clean function and EndThread":  {func(note func()) error { return noteInThread(s, noteThreadClean, note, EndThread()) }, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			tid := 0
			if err := c.do(func() { tid = unix.Gettid() }); err != c.err {
				t.Errorf("%v, want %v", err, c.err)
			}
			if tid == 0 {
				t.Fatal("it did not run")
			}
			if c.givenBack {
				wantThreadGivenBack(t, tid)
			} else {
				wantThreadGone(t, tid)
			}
		})
	}
}

var (
	noteThread      = Register("test.note-thread", func(context.Context, struct{}) (struct{}, error) { threadNote(); return struct{}{}, nil })
	noteThreadClean = Register("test.note-thread-clean", func(context.Context, struct{}) (struct{}, error) { threadNote(); return struct{}{}, nil }, LeavesThreadClean())
	threadNote      func()
)

func noteInThread(s *Set, f *Func[struct{}, struct{}], note func(), opts ...DoOption) error {
	threadNote = note
	_, err := f.Do(context.Background(), s, struct{}{}, append(opts, InThread())...)
	return err
}

// A stray UnlockOSThread in f does not let other goroutines run on a thread in
// foreign namespaces.
func TestStrayUnlockNeverFreesTheThread(t *testing.T) {
	testenv.Leaks(t)
	s := threadSet(t)
	want := foreign(t, s)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 4 { // who would take the thread
		wg.Go(func() {
			for !stop.Load() {
				runtime.Gosched()
			}
		})
	}
	for unlocks := 1; unlocks <= 3; unlocks++ {
		tid := 0
		if err := s.Run(func() error {
			tid = unix.Gettid()
			for range unlocks {
				runtime.UnlockOSThread()
			}
			for range 200 {
				runtime.Gosched()
				if now := unix.Gettid(); now != tid {
					t.Errorf("after %d unlocks f went from thread %d to %d", unlocks, tid, now)
					break
				}
			}
			wantLinks(t, os.Getpid(), tid, want)
			return nil
		}); err != nil {
			t.Error(err)
		}
		wantThreadGivenBack(t, tid)
	}
	stop.Store(true)
	wg.Wait()
}

// inspektor-gadget#5439: a thread unlocked after a failed restore.
func TestThreadIsNeverReusedAfterFailedRestore(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s := unshare(t, Net|UTS)
	var tids []int
	for range 20 {
		if err := s.Run(func() error {
			tids = append(tids, unix.Gettid())
			return dropSysAdmin()
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tid := range tids {
		wantThreadGone(t, tid)
	}
}

// dropSysAdmin takes from the calling thread, and no other, what setns needs.
func dropSysAdmin() error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return err
	}
	for _, set := range []*uint32{&data[0].Effective, &data[0].Permitted} {
		*set &^= 1 << unix.CAP_SYS_ADMIN
	}
	return unix.Capset(&hdr, &data[0])
}

// container-libs#1109: the callback unshares something else, and the thread
// goes back to the pool.
func TestClosureNeverLeavesThreadElsewhere(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	setCheckThreads(t)
	s := unshare(t, Net)
	for name, f := range map[string]func() error{
		"uts": func() error { return unix.Unshare(unix.CLONE_NEWUTS) },
		"ipc": func() error { return unix.Unshare(unix.CLONE_NEWIPC) },
		"mnt": func() error {
			return errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""))
		},
		"pid": func() error { return unix.Unshare(unix.CLONE_NEWPID) },
	} {
		tid := 0
		err := s.Run(func() error {
			tid = unix.Gettid()
			return f()
		})
		wantError(t, name, err, errLeftElsewhere, "restore "+name)
		wantThreadGone(t, tid)
	}
	// What is in the Set is restored, also if f went on from there.
	tid := 0
	if err := s.Run(func() error { tid = unix.Gettid(); return unix.Unshare(unix.CLONE_NEWNET) }); err != nil {
		t.Error(err)
	}
	wantThreadGivenBack(t, tid)
}

func setCheckThreads(t testing.TB) {
	old := checkThreads
	checkThreads = true
	t.Cleanup(func() { checkThreads = old })
}

// Work does not run on a thread that other code left somewhere, as it would run
// there and not in the Set.
func TestTaintedThreadIsNeverUsed(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	setCheckThreads(t)
	c := newCore().ready()
	r := &threadRun{c: c, done: make(chan struct{})}
	ran := false
	r.body = func(*threadRun) bool { ran = true; return true }
	tid := 0
	testenv.OnThread(func() {
		tid = unix.Gettid()
		if err := unix.Unshare(unix.CLONE_NEWUTS); err != nil {
			t.Error(err)
		}
		r.run()
	})
	wantError(t, "run", r.err, errThreadTainted, "uts")
	if ran {
		t.Error("the work was run")
	}
	wantThreadGone(t, tid)
}

var _ = testenv.Long(TestMainThreadNeverEnters)

// containerd#7513, moby/sys#128: the main thread tainted, /proc/self lies.
func TestMainThreadNeverEnters(t *testing.T) {
	testenv.Leaks(t)
	s := threadSet(t)
	want := foreign(t, s)

	t.Run("work that would start on it", func(t *testing.T) {
		c, err := s.acquire("test")
		if err != nil {
			t.Fatal(err)
		}
		defer c.release()
		for _, keep := range []bool{true, false} {
			tid := 0
			onMainThread(t, func() {
				r := &threadRun{c: c, join: c.threadJoin, done: make(chan struct{})}
				r.body = func(*threadRun) bool {
					tid = unix.Gettid()
					wantLinks(t, os.Getpid(), tid, want)
					wantLinks(t, os.Getpid(), os.Getpid(), nil)
					return keep
				}
				r.run()
				<-r.done
				if r.err != nil {
					t.Error(r.err)
				}
			})
			if tid == 0 || tid == os.Getpid() {
				t.Errorf("it ran on thread %d of process %d", tid, os.Getpid())
			}
			if !keep {
				wantThreadGone(t, tid)
			}
		}
		wantMainAtHome(t)
	})
	t.Run("Do called on it", func(t *testing.T) {
		onMainThread(t, func() {
			for _, restore := range []bool{true, false} {
				if err := s.Do(restore, func() bool {
					if unix.Gettid() == os.Getpid() {
						t.Error("the closure ran on the main thread")
					}
					return true
				}); err != nil {
					t.Error(err)
				}
			}
			wantLinks(t, os.Getpid(), unix.Gettid(), nil)
		})
		wantMainAtHome(t)
	})
	t.Run("thousands of Do", func(t *testing.T) {
		n := testenv.Times(2000, 200)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range n / 8 {
					if err := s.Do(true, func() bool {
						if unix.Gettid() == os.Getpid() {
							t.Error("the closure ran on the main thread")
						}
						return true
					}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		for looking := true; looking; {
			wantMainAtHome(t)
			select {
			case <-done:
				looking = false
			default:
				runtime.Gosched()
			}
		}
	})
}

func wantMainAtHome(t testing.TB) {
	t.Helper()
	wantLinks(t, os.Getpid(), os.Getpid(), nil)
	if state := statusOf(t, os.Getpid())["State"]; strings.HasPrefix(state, "Z") {
		t.Errorf("the main thread has ended: %s", state)
	}
}

// onMainThread runs f in a goroutine locked to the main thread.
func onMainThread(t testing.TB, f func()) {
	t.Helper()
	if !takeMainThread(f) {
		t.Error("no goroutine came to the main thread")
	}
}

// takeMainThread runs f in a goroutine locked to the main thread: one of so many
// locked goroutines that each thread has to take one. They are started by
// timers, as a thread that waits for events takes nothing else.
func takeMainThread(f func()) (taken bool) {
	stop, found, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	for range 1000 {
		locked := make(chan struct{})
		wg.Add(1)
		time.AfterFunc(50*time.Microsecond, func() {
			defer wg.Done()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if unix.Gettid() == os.Getpid() {
				close(found)
				defer close(done)
				f()
				return
			}
			close(locked)
			<-stop
		})
		select {
		case <-locked:
		case <-found:
			<-done
			return true
		}
	}
	return false
}

// The thread and the goroutine of the caller never change.
func TestDoInsideDo(t *testing.T) {
	testenv.Leaks(t)
	outer, inner := threadSet(t), threadSet(t)
	in, out := foreign(t, inner), foreign(t, outer)
	var tids []int
	err := outer.Run(func() error {
		mine := unix.Gettid()
		tids = append(tids, mine)
		err := inner.Run(func() error {
			tids = append(tids, unix.Gettid())
			wantLinks(t, os.Getpid(), unix.Gettid(), in)
			return new(Set).Run(func() error {
				wantLinks(t, os.Getpid(), unix.Gettid(), nil)
				return nil
			})
		})
		if now := unix.Gettid(); now != mine {
			t.Errorf("the outer closure went from thread %d to %d", mine, now)
		}
		wantLinks(t, os.Getpid(), mine, out)
		return err
	})
	if err != nil || len(tids) != 2 || tids[0] == tids[1] {
		t.Errorf("threads %v, %v", tids, err)
	}
	for _, tid := range tids {
		wantThreadGivenBack(t, tid)
	}
	// A panic and Goexit go through both.
	err = outer.Run(func() error { return inner.Run(func() error { runtime.Goexit(); return nil }) })
	if !errors.Is(err, ErrGoexit) {
		t.Errorf("Goexit: %v", err)
	}
	var pe *PanicError
	func() {
		defer func() { pe, _ = recover().(*PanicError) }()
		outer.Run(func() error { return inner.Run(func() error { panic("inner") }) })
	}()
	if first, _ := errors.AsType[*PanicError](errors.Unwrap(pe)); first == nil || first.Value != "inner" {
		t.Errorf("panic: %v", pe)
	}
}

func TestDoFromHundredGoroutines(t *testing.T) {
	testenv.Leaks(t)
	sets := []*Set{threadSet(t), threadSet(t), threadSet(t)}
	if testenv.Has(testenv.Root) {
		sets = append(sets, unshare(t, IPC), unshare(t, Mount|UTS))
	}
	var want []map[string]string
	for _, s := range sets {
		want = append(want, foreign(t, s))
	}
	var wg sync.WaitGroup
	var ran atomic.Int32
	for i := range 100 {
		wg.Go(func() {
			s, want := sets[i%len(sets)], want[i%len(sets)]
			for range 5 {
				if err := s.Do(i%7 != 0, func() bool {
					wantLinks(t, os.Getpid(), unix.Gettid(), want)
					ran.Add(1)
					return i%5 != 0
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if ran.Load() != 500 {
		t.Errorf("%d closures ran, want 500", ran.Load())
	}
}
