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

// This file is the thread backend. Only this file moves a thread of this process into namespaces,
// and back.
//
// Three rules must hold:
//
//   - The goroutine is new, so that it has no caller whose thread could be changed.
//   - Its thread is never the main thread. If the main thread ended, the process would be stuck in
//     foreign namespaces. And everybody reads /proc/PID, which shows the main thread.
//   - The thread is unlocked only after every type was restored. If a goroutine ends locked, its
//     thread ends with it.

// threadRun is one piece of work on one thread.
type threadRun struct {
	c    *core
	join []Type
	// body says whether the thread may be given back.
	body func(r *threadRun) bool

	entered Type // in which the thread has left home; body adds the types that it unshares
	keep    bool // body returned, and returned true
	ended   bool // body returned
	err     error
	panic   *PanicError
	done    chan struct{} // closed when the caller may go on
	phase   atomic.Int32
	alone   bool   // body goes on without a caller: it must not write results any more
	late    func() // called at the end if nobody waits any more, or nil
}

// Phases of a threadRun. It can be left behind only during gonso's own steps.
const (
	ownSteps   int32 = iota
	theirs           // the caller's function runs, or has run
	allOver          // the run has ended without the caller's function
	leftBehind       // nobody waits any more
)

// stepTimeout is the limit for gonso's own steps on a thread: they enter namespaces and open files
// inside, where a file system may not answer. stepPatience is their limit once the context is done.
const (
	stepTimeout  = 30 * time.Second
	stepPatience = 100 * time.Millisecond
	stepTicks    = 3
)

var stepClock = &sys.Coarse{Period: stepTimeout / stepTicks}

// runOnThread runs body on a locked thread inside the joined namespaces and waits for it. Its error
// says what gonso could not do. A panic of body is raised again here, on the caller's goroutine.
//
// The thread runs gonso's own steps until body calls begin. If they do not end soon after ctx is
// done, goroutine and thread are left behind. Then the error matches sys.ErrLeftBehind, late is
// called at the end, and the caller must not read the variables that body writes.
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

// begin says that the caller's function runs from now on. It returns false if nobody waits any
// more: then the function must not run.
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
	r.c.refs.Add(1) // the thread still uses the Set's descriptors
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
	if sys.OnMainThread() {
		sys.GoElsewhere(r.run)
		return
	}
	defer r.finish()
	if checkThreads {
		if away := awayFromHome(AllTypes); away != 0 {
			r.entered |= away | Mount // other code did this: the thread must not be given back
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

// enter enters the Set's namespaces. It does not rely on where the thread was before: other code
// may have left the thread elsewhere and given it back to the pool.
func (r *threadRun) enter() error {
	if err := r.settle(r.c.types &^ r.c.foreign); err != nil {
		return err
	}
	holdHome(r.c.foreign)
	for _, t := range r.join {
		if t == Mount {
			// setns refuses a mount namespace to a thread that shares its root and working
			// directory with other threads. Nothing can undo this unshare.
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

// settle makes sure that the thread is at home in the given types. If setns can be undone, it calls
// setns, which is cheaper than a look at the thread's namespaces. It looks if setns cannot be
// undone, or if the thread lacks the privilege for setns.
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
	r.entered |= away | Mount // the thread must not be given back
	return comeHome(away)
}

// takePlace gives the thread its own root, working directory and umask. After that the thread
// cannot be given back.
func (r *threadRun) takePlace(o doConfig) error {
	if o.place == (sys.Place{}) {
		return nil
	}
	r.entered |= Mount // this costs the same: the thread cannot go home
	return r.c.place(o).Take()
}

// place is the place that work asks for. It also says whether somebody else made the paths in it.
func (c *core) place(o doConfig) sys.Place {
	p := o.place
	p.Theirs = (p.Dir != "" || p.DirFile != nil) && c.opened&Mount != 0
	return p
}

// checkPlace refuses a root or working directory that would lead somebody else out of the Set, and
// makes a relative Dir absolute. name is the name of a function, or "".
func (c *core) checkPlace(op, name string, o *doConfig) error {
	err := c.refuseHostDir("DirFile", o.place.DirFile)
	if err == nil {
		err = c.refuseHostDir("Root", o.place.Root)
	}
	if err == nil && o.place.Root == nil { // Dir is below Root
		o.place.Dir, err = c.absolute("Dir", o.place.Dir)
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

// finish is deferred, so it also runs while the goroutine panics or exits.
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
	// A thread may go home after its work, and also if it failed to enter. It may not go home
	// after a panic or Goexit, because the work may have been left half done.
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

// goHome takes the thread out of the namespaces that it has entered. If it returns false, the
// thread must end.
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

// runClosure does the work of Do and Run.
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
		// f runs in every case. Its answer counts only if the caller asked to restore.
		ok := f()
		return ok && restore
	}, nil)
}

// goClosure does the work of Go. It returns setup's error, or nil while f runs.
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
