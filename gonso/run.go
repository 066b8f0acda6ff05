package gonso

import (
	"fmt"
	"os"
)

// Do runs f on a thread inside the Set's namespaces and waits for it.
//
// What catches people: a goroutine that f starts is not inside, and neither is
// what the standard library does in goroutines of its own, such as the second
// address family of net.Dial. A child with Pdeathsig dies when the thread does,
// which can be as soon as f returns. In a foreign mount namespace, whatever
// fills a cache of the whole process fills it from in there: the certificate
// pool, the resolver, the time zone, users; do not verify certificates or
// resolve names in such a closure, register a function instead. In a foreign net
// namespace net.Interfaces and net.InterfaceByName fill a cache, too: [Set.Interfaces]
// does not. /proc/self and /proc/net are those of the process, outside; inside are
// /proc/thread-self and /proc/thread-self/net. Long work keeps
// the namespaces alive after Close. Nothing needs to be locked.
//
// f always runs in a new goroutine, on a thread that is locked and is never the
// main thread; the caller's goroutine and thread are not touched, so Do inside
// Do works. If restore is false or f returns false, the thread ends with f. If
// both are true, the thread is restored to where the program was started, type
// by type, and given back to the scheduler. Where that is not possible (the Set
// has a foreign ipc or mnt namespace, the restore fails, f left the thread
// locked), the thread ends too: none is ever used again half restored.
//
// A panic in f is raised again on the caller's goroutine, as a [*PanicError]
// with the stack of f. If f ends with runtime.Goexit, as t.FailNow does, Do
// returns [ErrGoexit].
//
// A Set with a user or time namespace that is not this process's own cannot be
// entered by a thread (EINVAL and EUSERS, setns(2)): Do returns an error
// matching [ErrNeedsProcess] without running f. With a foreign pid namespace
// only children that f starts land inside (pid_namespaces(7)).
//
// Entering needs CAP_SYS_ADMIN in this process's user namespace and in those that
// own the Set's namespaces, and for mnt CAP_SYS_CHROOT too (setns(2)); a Set of
// namespaces that are home needs nothing.
func (s *Set) Do(restore bool, f func() bool) error {
	if f == nil {
		return invalid("do", "the function is nil")
	}
	c, err := s.acquire("do")
	if err != nil {
		return err
	}
	defer c.release()
	return c.runClosure(restore, f, doConfig{})
}

// Run is [Set.Do] for functions that return an error: it returns that of f, or
// its own if f could not be run. The thread is given back where that is
// possible, unless f panics, exits or leaves the thread locked; [EndThread] ends
// it in any case. Other options that it takes are [Root], [Dir], [DirFile] and [Umask], with
// which the thread ends, and [InThread], which says nothing new; a closure cannot
// run in a process.
func (s *Set) Run(f func() error, opts ...DoOption) error {
	if f == nil {
		return invalid("run", "the function is nil")
	}
	o, err := closureOptions("run", opts)
	if err != nil {
		return err
	}
	c, err := s.acquire("run")
	if err != nil {
		return err
	}
	defer c.release()
	if err := c.checkPlace("run", "", o); err != nil {
		return err
	}
	var ferr error
	if err := c.runClosure(!o.endThread, func() bool {
		ferr = f()
		return true
	}, o); err != nil {
		return err
	}
	return ferr
}

// Go starts f in a goroutine of its own inside the Set, on a thread of its own as
// [Set.Run] does, and returns when f is about to run. It is for work that outlives the
// call: a server, a watcher of netlink messages, a loop.
//
// setup runs first, on the same thread, and Go waits for it: it opens what f needs, such as a
// listener. If setup returns an error, Go returns that error, and f does not run. setup may be nil.
// Go's own errors are those of Run; f does not run then either.
//
// When setup has returned nil, Go returns nil, and f goes on. From then on f is a goroutine like any
// other. Go has no word of its end; a channel, or a sync.WaitGroup, of the caller's tells it. A
// panic of f ends the program. runtime.Goexit ends f and its thread. A panic of setup is raised on
// the caller's goroutine as a [*PanicError], and after runtime.Goexit in setup Go returns
// [ErrGoexit], as Run does.
//
// The Set's namespaces are held until f returns, also when the Set is closed before; Close does not
// wait for f, and nothing ends it. When f returns, or setup returns an error, the thread is given
// back as that of Run: where that is possible, and not with [EndThread], [Root], [Dir], [DirFile] or [Umask], which
// are the options that Go takes, as Run does. What Do says of goroutines that a closure starts, and of
// privileges, holds here too: what f accepts and hands to other goroutines works there, as a connection
// belongs to the net namespace in which it was made, but those goroutines are not inside.
func (s *Set) Go(setup func() error, f func(), opts ...DoOption) error {
	o, err := closureOptions("go", opts)
	if err != nil {
		return err
	}
	c, err := s.acquire("go")
	if err != nil {
		return err
	}
	defer c.release()
	if f == nil {
		return invalid("go", "the function f is nil")
	}
	if err := c.checkPlace("go", "", o); err != nil {
		return err
	}
	return c.goClosure(!o.endThread, setup, f, o)
}

// closureOptions are the options of work that runs on a thread of this process.
func closureOptions(op string, opts []DoOption) (doConfig, error) {
	o := doOptions(opts)
	switch {
	case o.bad != nil:
		return o, newError(op, 0, "", o.bad)
	case o.isolated:
		return o, newError(op, 0, "", noProcessForClosure("Isolated"))
	case o.inProcess:
		return o, newError(op, 0, "", noProcessForClosure("InProcess"))
	}
	return o, nil
}

func noProcessForClosure(option string) error {
	return fmt.Errorf("%s: a closure cannot run in a process, register the function: %w", option, os.ErrInvalid)
}
