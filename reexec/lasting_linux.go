package reexec

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// Processes are started on threads that last as long as this program. A worker gets SIGKILL when
// the thread that has started it ends (PR_SET_PDEATHSIG). This works however this program ends, and
// even while the worker waits or is stopped. Any other thread may end while the program goes on:
// gonso ends threads itself.
//
// A start may take long: exec closes copies of all files that this program has open, and somebody
// else's file system may not answer to that (FUSE_FLUSH). Nothing ends this wait. So the thread is
// left behind in it, and another thread takes the next start.
var lasting struct {
	sync.Mutex
	work    chan func() (lasts bool)
	threads int
	over    atomic.Int64 // the number of starts that are over
}

const (
	// maxLasting bounds the threads that are left behind. Beyond it, a start waits until one of
	// them is free.
	maxLasting = 16
	// lastingPatience: if no start gets done for this long, another thread is made.
	lastingPatience = 100 * time.Millisecond
	// leavePatience is how long a start has before it is left behind, once its context is done.
	leavePatience = 200 * time.Millisecond
)

// onLastingThread runs f on a lasting thread. When ctx is done and f does not end soon, it returns
// ctx's cause with [sys.ErrLeftBehind], and hands a later result of f to late. release must free
// everything that f uses. It is called when f is over, or will not be called. It is not called if f
// returns errElsewhere.
func onLastingThread[T any](ctx context.Context, f func() (T, error), release func(), late func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var nothing T
	if err := Rehearse(ctx); err != nil {
		release()
		return nothing, err
	}
	var over atomic.Bool // set by the first of the two: f, or the end of the wait
	c := make(chan result, 1)
	err := giveToLastingThread(ctx, func() (lasts bool) {
		v, err := f()
		if !errors.Is(err, errElsewhere) {
			release()
		}
		if !over.CompareAndSwap(false, true) {
			if err == nil {
				late(v)
			}
			return false
		}
		c <- result{v, err}
		return err == nil
	})
	if err != nil {
		release()
		return nothing, err
	}
	select {
	case r := <-c:
		return r.v, r.err
	case <-ctx.Done():
	}
	// A child has its own copies of its files once it is made. That is quick; its exec may take
	// long.
	patience := time.NewTimer(leavePatience)
	defer patience.Stop()
	select {
	case r := <-c:
		return r.v, r.err
	case <-patience.C:
	}
	if over.CompareAndSwap(false, true) {
		return nothing, stuckStart(context.Cause(ctx))
	}
	r := <-c // at the same time
	return r.v, r.err
}

// f of onLastingThread returns errElsewhere if it must run on another thread, and has used nothing.
var errElsewhere = errors.New("to be run on another thread")

// cautious is set once somebody else's files may be open in this program.
var cautious atomic.Bool

// BeCautious says that somebody else's files may be open from now on. Each start then also has to
// wake a thread.
func BeCautious() { cautious.Store(true) }

// starter is the thread that asks for a start. Its goroutine is locked to it while a process is
// started, but not while it waits for that process: each wait of a locked goroutine wakes two
// threads.
type starter struct {
	tid        int
	privileges Privileges
	err        error        // why the privileges are not known
	atHome     func() error // fails if a child of the calling thread would inherit anything that is not the program's
	lasts      bool         // its process ends with the thread that starts it, which must be a lasting one
}

// newStarter returns the calling thread. The caller stays locked to it until the start is over.
// Before another thread may start the process, know must be called.
func newStarter(atHome func() error) *starter {
	if atHome == nil {
		atHome = filesAtHome
	}
	return &starter{tid: unix.Gettid(), atHome: atHome, err: errMoved}
}

// know looks at the privileges of the thread. It makes some fifty system calls.
func (s *starter) know() {
	if s.err == errMoved && unix.Gettid() == s.tid {
		s.privileges, s.err = ThreadPrivileges()
	}
}

// lookAtStarter looks at the calling thread.
func lookAtStarter(atHome func() error) *starter {
	runtime.LockOSThread() // for the time of the look
	defer runtime.UnlockOSThread()
	s := newStarter(atHome)
	s.know()
	return s
}

// filesAtHome fails if a path, such as a program's, may lead to somebody else's file.
func filesAtHome() error {
	if procfs.Away() {
		return errAway
	}
	return nil
}

var errAway = errors.New("the calling thread is in another mnt namespace than this program, or at another root, and its privileges are not those of other threads")

// isLikeThis reports whether the calling thread has the same privileges.
func (s *starter) isLikeThis() bool {
	now, err := ThreadPrivileges()
	return err == nil && s.err == nil && now == s.privileges
}

// check fails if the calling thread must not start anything for s.
func (s *starter) check() error {
	if unix.Gettid() != s.tid && !s.isLikeThis() {
		return errMoved
	}
	return s.atHome()
}

// onThreadLike runs f on a thread with the starter's privileges. It is the calling thread if
// nothing can keep f waiting and the thread is at home. Otherwise it is a lasting thread. If the
// lasting threads have other privileges, f runs on the calling thread, without a bound: a caller
// that is locked to the thread may have changed its privileges.
func onThreadLike[T any](ctx context.Context, s *starter, f func() (T, error), release func(), late func(T)) (v T, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if !cautious.Load() && !s.lasts && s.check() == nil {
		defer release()
		return f()
	}
	s.know()
	if s.err == nil {
		v, err := onLastingThread(ctx, func() (v T, err error) {
			if !s.isLikeThis() {
				return v, errElsewhere
			}
			return f()
		}, release, late)
		if !errors.Is(err, errElsewhere) {
			return v, err
		}
	}
	defer release()
	if s.lasts {
		return v, errMoved
	}
	if err := s.check(); err != nil {
		return v, err
	}
	return f()
}

var errMoved = errors.New("threads of this program have different privileges, and the goroutine was moved to another one: lock it (runtime.LockOSThread)")

// like reports whether the lasting threads have the starter's privileges.
func (s *starter) like(ctx context.Context) bool {
	_, err := onLastingThread(ctx, func() (struct{}, error) {
		if !s.isLikeThis() {
			return struct{}{}, errElsewhere
		}
		return struct{}{}, nil
	}, func() {}, func(struct{}) {})
	return err == nil
}

// giveToLastingThread makes a lasting thread run f. After an error, f does not run. f reports
// whether it has started a process that goes on.
func giveToLastingThread(ctx context.Context, f func() (lasts bool)) error {
	work, began := lastingWork(), time.Now()
	patience := time.NewTicker(lastingPatience)
	defer patience.Stop()
	for over := lasting.over.Load(); ; over = lasting.over.Load() {
		select {
		case work <- f:
			return nil
		case <-patience.C:
			if lasting.over.Load() == over {
				anotherLastingThread()
			}
		case <-ctx.Done():
			cause := context.Cause(ctx)
			if lasting.over.Load() != over || time.Since(began) < lastingPatience {
				return fmt.Errorf("starting a process: the time was over before that began: %w", cause)
			}
			return stuckStart(cause)
		}
	}
}

// lastingWork returns the channel that the lasting threads take their work from. It makes sure that
// there is at least one thread.
func lastingWork() chan<- func() bool {
	lasting.Lock()
	defer lasting.Unlock()
	if lasting.work == nil {
		lasting.work = make(chan func() bool)
		lasting.threads++
		go lastingThread(0)
	}
	return lasting.work
}

func anotherLastingThread() {
	lasting.Lock()
	defer lasting.Unlock()
	if lasting.threads < maxLasting {
		lasting.threads++
		go lastingThread(0)
	}
}

// stuckStart says why a start is not over, as far as this program can know.
func stuckStart(cause error) error {
	return fmt.Errorf("starting a process: exec does not return, which closes a copy of every file that this program has open; "+
		"probably the file system of one of them does not answer (FUSE): %w", errors.Join(cause, sys.ErrLeftBehind))
}

// Settle makes the calling thread enter the namespaces of this program, if it is in others. Package
// gonso sets it: other code may have left threads of the pool elsewhere.
var Settle = func() error { return nil }

// settleTries bounds how many threads are tried if they cannot be settled.
const settleTries = 64

func lastingThread(tries int) {
	sys.LockThread()
	if sys.OnMainThread() { // other code may need it
		sys.GoElsewhere(func() { lastingThread(tries) })
		return
	}
	if tries < settleTries && Settle() != nil {
		go lastingThread(tries + 1)
		return // the thread ends: it is still locked
	}
	needed := false
	for f := range lasting.work {
		needed = f() || needed
		lasting.over.Add(1)
		if needed {
			continue
		}
		// No process needs this thread: it may end if there are others.
		lasting.Lock()
		if lasting.threads > 1 {
			lasting.threads--
			lasting.Unlock()
			return
		}
		lasting.Unlock()
	}
}
