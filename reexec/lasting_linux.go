package reexec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// Processes are started on threads that last as long as this program. What a worker is, it
// gets SIGKILL when the thread that has started it ends (PR_SET_PDEATHSIG), however this
// program ends, and whatever the worker waits for or is stopped by. Any other thread may
// end while the program goes on: gonso ends threads itself.
//
// A start may last: exec closes copies of all files that this program has open, and a file system of
// somebody else's may not answer to that (FUSE_FLUSH). Nothing ends such a wait, so that the thread is
// left behind in it, and another one takes what comes next.
var lasting struct {
	sync.Mutex
	work    chan func() (lasts bool)
	threads int
	over    atomic.Int64 // starts that are
}

const (
	// maxLasting bounds the threads that are left behind. Beyond it, who wants to start something waits for one.
	maxLasting = 16
	// lastingPatience is for how long no start may be over before there is another thread.
	lastingPatience = 100 * time.Millisecond
	// leavePatience is how long a start has before it is left behind, once its context is done.
	leavePatience = 200 * time.Millisecond
)

// onLastingThread runs f on such a thread. When ctx is done and f does not end soon, it returns ctx's cause with
// [sys.ErrLeftBehind]; what f gives later is handed to late. What f uses has to be given up by release,
// which is called when f is over, or will not be called; but not if f says errElsewhere.
func onLastingThread[T any](ctx context.Context, f func() (T, error), release func(), late func(T)) (T, error) {
	type result struct {
		v   T
		err error
	}
	var nothing T
	var over atomic.Bool // one of the two was first
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
	// The files that are given to a child are its own once it was made, which does not last: its exec does.
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

// errElsewhere is what f of onLastingThread answers if it has to run elsewhere, and has used nothing.
var errElsewhere = errors.New("to be run on another thread")

// cautious is set once files of somebody else's may be open in this program.
var cautious atomic.Bool

// BeCautious says that files of somebody else may be open from now on. Each start then also takes
// the waking of a thread.
func BeCautious() { cautious.Store(true) }

// starter is the thread that a start is asked from. Its goroutine is locked to it while something is started, and not
// while it waits for what was: a locked one pays two threads' waking for every wait.
type starter struct {
	tid        int
	privileges Privileges
	err        error        // why they are not known
	atHome     func() error // fails where what the calling thread starts would inherit what is not the program's
	lasts      bool         // what it starts ends with the thread that starts it: no other will do
}

// newStarter is the calling thread, to which the caller is locked until it has started something. It has to know more
// before it may be another one that starts.
func newStarter(atHome func() error) *starter {
	if atHome == nil {
		atHome = filesAtHome
	}
	return &starter{tid: unix.Gettid(), atHome: atHome, err: errMoved}
}

// know looks at the privileges of the thread, which takes some fifty calls.
func (s *starter) know() {
	if s.err == errMoved && unix.Gettid() == s.tid {
		s.privileges, s.err = ThreadPrivileges()
	}
}

// lookAtStarter looks at the calling thread.
func lookAtStarter(atHome func() error) *starter {
	runtime.LockOSThread() // in between
	defer runtime.UnlockOSThread()
	s := newStarter(atHome)
	s.know()
	return s
}

// filesAtHome fails where what is looked up by a path, as a program to be started is, may be somebody else's.
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

// check fails if the calling thread is not to start anything for s.
func (s *starter) check() error {
	if unix.Gettid() != s.tid && !s.isLikeThis() {
		return errMoved
	}
	return s.atHome()
}

// onThreadLike runs f on a thread with the starter's privileges: on the calling one as long as nothing can keep f waiting,
// and that is at home, else by onLastingThread. If those have other privileges, as whoever is locked to the calling
// thread may have wanted, f runs here, and lasts as long as that takes.
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

// like reports whether the threads that last have the starter's privileges.
func (s *starter) like(ctx context.Context) bool {
	_, err := onLastingThread(ctx, func() (struct{}, error) {
		if !s.isLikeThis() {
			return struct{}{}, errElsewhere
		}
		return struct{}{}, nil
	}, func() {}, func(struct{}) {})
	return err == nil
}

// giveToLastingThread has f run there, after an error not. f reports whether what it has started goes on.
func giveToLastingThread(ctx context.Context, f func() (lasts bool)) error {
	work := lastingWork()
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
			return stuckStart(context.Cause(ctx))
		}
	}
}

// lastingWork is where the threads take their work from; there is at least one of them.
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

// stuckStart says, as far as can be known, why a start is not over.
func stuckStart(cause error) error {
	return fmt.Errorf("starting a process: exec does not return, which closes a copy of every file that this program has open; "+
		"probably the file system of one of them does not answer (FUSE): %w", errors.Join(cause, sys.ErrLeftBehind))
}

// Settle lets the calling thread enter the namespaces of this program, if it is in others. Package
// gonso sets it: other code may have left threads of the pool elsewhere.
var Settle = func() error { return nil }

// settleTries bounds how many threads are tried that cannot be settled.
const settleTries = 64

func lastingThread(tries int) {
	runtime.LockOSThread()
	main := unix.Gettid() == os.Getpid() // which is others' as well
	if main || tries < settleTries && Settle() != nil {
		started := make(chan struct{})
		go func() {
			close(started)
			lastingThread(tries + 1)
		}()
		<-started
		if main {
			runtime.UnlockOSThread()
		}
		return
	}
	needed := false
	for f := range lasting.work {
		needed = f() || needed
		lasting.over.Add(1)
		if needed {
			continue
		}
		// What it has started has ended: it need not last if there are others.
		lasting.Lock()
		if lasting.threads > 1 {
			lasting.threads--
			lasting.Unlock()
			return
		}
		lasting.Unlock()
	}
}
