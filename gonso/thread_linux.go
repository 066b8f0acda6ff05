package gonso

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// This file is the thread backend: the only one that moves a thread of this
// process into namespaces, and back.
//
// What must hold: the goroutine is fresh, so that it has no caller whose
// thread could be changed. Its thread is never the main thread, whose death
// would leave the process wedged in foreign namespaces and whose /proc/PID
// everybody reads. The thread is unlocked only after every type was restored;
// a goroutine that ends locked takes its thread with it.

// threadRun is one piece of work on one thread.
type threadRun struct {
	c    *core
	join []Type
	// body says whether the thread may be given back.
	body func(r *threadRun) bool

	entered Type // what the thread is in besides home; body adds what it unshares
	keep    bool // body returned, and returned true
	ended   bool // body returned
	err     error
	panic   *PanicError
	done    chan struct{} // closed when the caller may go on
	phase   atomic.Int32
	alone   bool   // body goes on without a caller, who must not be told anything any more
	late    func() // what to do at the end if nobody waits any more, or nil
}

// Phases of a threadRun. It is left behind only while it runs steps of gonso's own.
const (
	ownSteps   int32 = iota
	theirs           // a function of the caller's
	allOver          // without one
	leftBehind       // nobody waits
)

// stepTimeout is how long gonso's own steps on a thread may take: entering namespaces and
// opening what is inside, where a file system may not answer. stepPatience is how long they
// have once a context is done.
const (
	stepTimeout  = 30 * time.Second
	stepPatience = 100 * time.Millisecond
	stepTicks    = 3
)

var stepClock = &sys.Coarse{Period: stepTimeout / stepTicks}

// runOnThread runs body on a locked thread inside the joined namespaces and
// waits for it. Its error says what gonso could not do; a panic of body is
// raised again here, on the caller's goroutine.
//
// Until body has called begin, what the thread does is gonso's own affair. If that
// does not end soon after ctx is done, goroutine and thread are left behind, the error
// matches sys.ErrLeftBehind, and late is called in the end. What body writes must
// not be read then.
func (c *core) runOnThread(ctx context.Context, join []Type, body func(r *threadRun) bool, late func()) error {
	r := &threadRun{c: c, join: join, body: body, done: make(chan struct{}), late: late}
	go r.run()
	if err := r.await(ctx); err != nil {
		return err
	}
	if r.panic != nil {
		panic(r.panic)
	}
	return r.err
}

// begin says that a function of the caller's runs from now on, unless nobody waits for it.
func (r *threadRun) begin() bool { return r.phase.CompareAndSwap(ownSteps, theirs) }

// await returns nil when the run is over.
func (r *threadRun) await(ctx context.Context) error {
	var cause error
	for ticks := 0; ticks <= stepTicks && cause == nil; ticks++ {
		select {
		case <-r.done:
			return nil
		case <-ctx.Done():
			cause = context.Cause(ctx)
		case <-stepClock.Tick():
		}
	}
	if cause == nil {
		cause = fmt.Errorf("no answer within %v: %w", stepTimeout, context.DeadlineExceeded)
	}
	if r.phase.Load() == ownSteps && sys.Done(r.done, stepPatience) {
		return nil
	}
	r.c.refs.Add(1) // the thread goes on to use what the Set holds
	if !r.phase.CompareAndSwap(ownSteps, leftBehind) {
		r.c.release()
		<-r.done
		return nil
	}
	return newError("run", 0, "", fmt.Errorf("%w: entering the Set, or opening what is inside, does not end: %w", cause, sys.ErrLeftBehind)).
		withHint("a file system inside may not answer, as FUSE without its server")
}

func (r *threadRun) run() {
	sys.LockThread()
	if unix.Gettid() == mainTID {
		// This goroutine occupies the main thread until another one has the
		// work, which therefore runs elsewhere.
		started := make(chan struct{})
		go func() {
			close(started)
			r.run()
		}()
		<-started
		sys.UnlockThread()
		return
	}
	defer r.finish()
	if checkThreads {
		if away := awayFromHome(AllTypes); away != 0 {
			r.entered |= away | Mount // somebody else's doing; not to be given back
			r.err = newError("run", away, "", errThreadTainted)
			return
		}
	}
	if r.err = r.enter(); r.err != nil {
		return
	}
	r.keep = r.body(r)
	r.ended = true
}

var errThreadTainted = errors.New("the thread is not in the namespaces that this process was started in: some code changed it, unlocked it, and did not restore it")

// enter enters the Set's namespaces. It does not ask where the thread was before: other code may
// have left the thread elsewhere and given it back to the pool.
func (r *threadRun) enter() error {
	if err := r.settle(r.c.types &^ r.c.foreign); err != nil {
		return err
	}
	holdHome(r.c.foreign)
	for _, t := range r.join {
		if t == Mount {
			// setns refuses a mount namespace to a thread that shares root and
			// working directory with others; unsharing cannot be undone.
			r.entered |= Mount
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return refused("unshare fs for", t, err)
			}
		}
		if err := r.c.ns[t.index()].Enter(uint32(t)); err != nil {
			return refusedWith("setns", t, err, func(ev *evidence) { ev.owner = ownerOf(r.c.ns[t.index()]) })
		}
		r.entered |= t
	}
	return nil
}

// settle makes sure that the thread is at home in the given types. It calls setns if that can be
// undone, which is cheaper than to look. It looks if the thread lacks the privilege for setns, or
// could not come back after it.
func (r *threadRun) settle(types Type) error {
	var look Type
	may := true
	types.each(func(i int, t Type) {
		switch {
		case t&threadGoesHome == 0:
			look |= t
		case may && enterHome(i):
			r.entered |= t // f may leave it
		default:
			may = false
			look |= t
		}
	})
	if look == 0 {
		return nil
	}
	away := awayFromHome(look)
	if away == 0 {
		return nil
	}
	r.entered |= away | Mount // not to be given back
	return comeHome(away)
}

// takePlace gives the thread its own root, working directory and umask. It cannot be given back
// then.
func (r *threadRun) takePlace(o doConfig) error {
	if o.place == (sys.Place{}) {
		return nil
	}
	r.entered |= Mount // as what it costs is the same
	return r.c.place(o).Take()
}

// place is that of work, with what has to be said about whose paths are in it.
func (c *core) place(o doConfig) sys.Place {
	p := o.place
	p.Theirs = (p.Dir != "" || p.DirFile != nil) && c.opened&Mount != 0
	return p
}

// checkPlace refuses a working directory that would lead somebody else out. name is that of a function, or "".
func (c *core) checkPlace(op, name string, o doConfig) error {
	err := c.refuseHostDir("DirFile", o.place.DirFile)
	if err == nil {
		err = c.refuseHostDir("Root", o.place.Root)
	}
	if err != nil {
		return newError(op, 0, name, err)
	}
	return nil
}

// goOn lets the caller continue while body runs. The Set is held until both have ended.
func (r *threadRun) goOn() {
	r.c.refs.Add(1)
	r.alone = true
	close(r.done)
}

// finish runs deferred, also while the goroutine panics or exits.
func (r *threadRun) finish() {
	if r.alone {
		// Nobody would hear of a panic: it is not recovered, and ends the program.
		if r.keep && r.goHome() {
			sys.UnlockThread()
		}
		r.c.release()
		return
	}
	switch p := recover(); {
	case p != nil:
		r.panic = &PanicError{Value: p, Stack: debug.Stack()}
	case !r.ended && r.err == nil:
		r.err = ErrGoexit
	}
	// A thread that failed to enter may go home like one whose work was done;
	// after a panic or Goexit nobody knows what was left half done.
	if (r.keep || !r.ended && r.err != nil && r.err != ErrGoexit) && r.goHome() {
		sys.UnlockThread()
	}
	if !r.phase.CompareAndSwap(ownSteps, allOver) && r.phase.Load() == leftBehind {
		if r.late != nil {
			r.late()
		}
		r.c.release()
	}
	close(r.done)
}

// goHome restores what was entered. If it returns false, the thread must end.
func (r *threadRun) goHome() bool {
	if !restorable(r.entered) {
		return false
	}
	for i := range typeTable {
		if r.entered&typeTable[i].typ == 0 {
			continue
		}
		if !enterHome(i) {
			return false
		}
	}
	if checkThreads {
		if away := awayFromHome(AllTypes); away != 0 {
			if r.err == nil && !r.alone {
				r.err = newError("restore", away, "", errLeftElsewhere)
			}
			return false
		}
	}
	return true
}

var errLeftElsewhere = errors.New("the function changed namespaces of its thread that are not in the Set; pass restore as false, or use a Set that has them")

// runClosure is Do and Run.
func (c *core) runClosure(restore bool, f func() bool, o doConfig) error {
	if c.closureErr != nil {
		return c.closureErr
	}
	return c.runOnThread(context.Background(), c.threadJoin, func(r *threadRun) bool {
		if err := r.takePlace(o); err != nil {
			r.err = newError("run", 0, "", err).withHint(placeHint(err))
			return false
		}
		if !r.begin() {
			return false
		}
		// f is always run; its answer counts only if restoring was asked for.
		ok := f()
		return ok && restore
	}, nil)
}

// goClosure is Go: setup's error, or f is running.
func (c *core) goClosure(restore bool, setup func() error, f func(), o doConfig) error {
	if c.closureErr != nil {
		return c.closureErr
	}
	var serr error
	err := c.runOnThread(context.Background(), c.threadJoin, func(r *threadRun) bool {
		if err := r.takePlace(o); err != nil {
			r.err = newError("go", 0, "", err).withHint(placeHint(err))
			return false
		}
		if !r.begin() {
			return false
		}
		if setup != nil {
			if serr = setup(); serr != nil {
				return restore
			}
		}
		r.goOn()
		f()
		return restore
	}, nil)
	if err != nil {
		return err
	}
	return serr
}
