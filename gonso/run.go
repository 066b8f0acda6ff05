package gonso

import (
	"fmt"
	"os"
)

// Do runs f on a thread inside the Set's namespaces and waits for it.
//
// A goroutine that f starts is not inside. The standard library starts some, for example for the
// second address family of net.Dial. A child with Pdeathsig dies when the thread ends, which can be
// as soon as f returns. /proc/self and /proc/net mean the process, outside. /proc/thread-self and
// /proc/thread-self/net mean inside. Long work keeps the namespaces alive after Close. The caller
// need not lock anything.
//
// In a foreign mount namespace, f fills caches of the whole process from inside: the certificate
// pool, the resolver, the time zone, users. Do not verify certificates or resolve names in such a
// closure: register a function instead. In a foreign net namespace net.Interfaces and
// net.InterfaceByName fill a cache, too. [Set.Interfaces] does not.
//
// f always runs in a new goroutine, on a locked thread that is never the main thread. The caller's
// goroutine and thread do not change, so Do inside Do works.
//
// If restore and the result of f are both true, the thread goes back to the namespaces in which the
// program was started, type by type. It is then given back to the scheduler. Otherwise the thread
// ends with f. It also ends if it cannot go back: if the Set has a foreign ipc or mnt namespace, if
// setns(2) fails, or if f leaves the thread locked. So no thread is ever used again half restored.
//
// A panic in f is raised again on the caller's goroutine, as a [*PanicError]
// with the stack of f. If f ends with runtime.Goexit, as t.FailNow does, Do
// returns [ErrGoexit].
//
// No thread can enter a Set with a user or time namespace that is not this process's own (EINVAL
// and EUSERS, setns(2)). Do then does not run f, and returns an error that matches
// [ErrNeedsProcess]. In a Set with a foreign pid namespace, only the children of f are inside
// (pid_namespaces(7)).
//
// Entering needs CAP_SYS_ADMIN in this process's user namespace and in the user namespaces that own
// the Set's namespaces. For mnt it needs CAP_SYS_CHROOT, too (setns(2)). A Set whose namespaces are
// all home needs no privilege.
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

// Run is [Set.Do] for functions that return an error. It returns the error of f, or its own error
// if f could not run. The thread is given back if that is possible, unless f panics, calls
// runtime.Goexit or leaves the thread locked. [EndThread] ends the thread in any case. So do the
// options [Root], [Dir], [DirFile] and [Umask]. [InThread] is allowed and changes nothing. A
// closure cannot run in a process.
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
	if err := c.checkPlace("run", "", &o); err != nil {
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
// setup runs first, on the same thread, and Go waits for it. It opens the files and sockets of f,
// such as a listener. If setup returns an error, Go returns that error, and f does not run. setup
// may be nil. Go itself returns the same errors as Run, and f does not run then, either.
//
// When setup has returned nil, Go returns nil, and f goes on. From then on f is a goroutine like
// any other. To learn of its end, use a channel or a sync.WaitGroup. A panic of f ends the program.
// runtime.Goexit ends f and its thread. A panic of setup is raised on the caller's goroutine as a
// [*PanicError], and after runtime.Goexit in setup Go returns [ErrGoexit], as Run does.
//
// f holds the Set's namespaces until it returns, even if the Set is closed before. Close does not
// wait for f, and nothing ends f. When f returns, or setup returns an error, the thread is given
// back as with Run. Go takes the options of Run.
//
// A goroutine that f starts is not inside, as with Do. It can use a connection that f has accepted,
// because a connection belongs to the net namespace in which it was made. Go needs the privileges
// of Do.
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
	if err := c.checkPlace("go", "", &o); err != nil {
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
	case o.waitDelay != 0:
		return o, newError(op, 0, "", fmt.Errorf("WaitDelay: a closure has no readers and writers that it could wait for: %w", os.ErrInvalid))
	}
	return o, nil
}

func noProcessForClosure(option string) error {
	return fmt.Errorf("%s: a closure cannot run in a process, register the function: %w", option, os.ErrInvalid)
}
