package gonso

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"

	"github.com/gonso/gonso/internal/sys"
)

// Set is a collection of namespaces, at most one of each type. Work runs in it. A Set holds a
// descriptor for each namespace that is not this process's own, and for each user namespace between
// its own and this process's. It holds no processes and no threads. The first call that needs a
// worker process starts it.
//
// Every function and method that returns a Set returns an independent one, and the caller closes
// it. Sets are safe for concurrent use. A Set must not be copied.
//
// Work in a Set is in the Set's namespaces. For the types that the Set does not have, it is in the
// program's own namespaces, even if the call comes from a closure of another Set.
//
// Work enters every namespace of the Set anew, even a namespace that is the program's own. So a
// thread that other code has left in another namespace does no harm. For the types that the Set
// does not have, work is where the threads of the Go scheduler are. This is the program's own
// namespace, unless other code moves a thread and unlocks it there. To rule that out, add these
// types to the Set: [Current] has all types.
//
// The zero Set has no namespaces and is ready to use: work runs where the
// program is, in a new goroutine. Methods of a nil Set answer an error that
// matches [os.ErrInvalid].
type Set struct {
	once sync.Once
	c    *core
}

func newSet(c *core) *Set {
	s := &Set{c: c}
	s.get()
	return s
}

// get returns the core, or nil for a nil Set. The first call arranges that a forgotten Set is
// closed.
func (s *Set) get() *core {
	if s == nil {
		return nil
	}
	s.once.Do(func() {
		if s.c == nil {
			s.c = newCore()
		}
		runtime.AddCleanup(s, func(c *core) { go c.close() }, s.c)
	})
	return s.c
}

// acquire takes a reference. What the Set holds stays open until release.
func (s *Set) acquire(op string) (*core, error) {
	c, err := s.get(), errNilSet
	if c != nil {
		err = c.acquire()
	}
	runtime.KeepAlive(s)
	if err != nil {
		return nil, newError(op, 0, "", err)
	}
	return c, nil
}

// acquireFor is acquire for what ends with a context.
func (s *Set) acquireFor(ctx context.Context, op string) (*core, error) {
	if err := checkContext(ctx, op); err != nil {
		return nil, err
	}
	return s.acquire(op)
}

// checkContext refuses a nil context, which would panic where it is used.
func checkContext(ctx context.Context, op string) error {
	if ctx == nil {
		return newError(op, 0, "", errNoContext)
	}
	return nil
}

var errNoContext = sys.Wrap("the context is nil", os.ErrInvalid)

// Types returns the types of the namespaces in the Set. It is 0 if the Set is empty or closed.
func (s *Set) Types() Type {
	c, err := s.acquire("types")
	if err != nil {
		return 0
	}
	defer c.release()
	return c.types
}

// Has reports whether the Set has namespaces of all the given types.
func (s *Set) Has(types Type) bool {
	return types != 0 && s.Types()&types == types
}

// ID returns the identity of the Set's namespace of the given type.
func (s *Set) ID(t Type) (ID, error) {
	c, err := s.acquireOne("id", t)
	if err != nil {
		return ID{}, err
	}
	defer c.release()
	return c.id(t), nil
}

// File returns a new descriptor for the Set's namespace of the given type, to
// be closed by the caller. It is close-on-exec.
func (s *Set) File(t Type) (*os.File, error) {
	c, err := s.acquireOne("file", t)
	if err != nil {
		return nil, err
	}
	defer c.release()
	return c.file(t)
}

// Fd returns the number of the Set's own descriptor for its namespace of the given type: for
// libraries that take a number, as github.com/vishvananda/netlink does:
//
//	h, err := netlink.NewHandleAt(netns.NsHandle(s.Fd(gonso.Net)))
//	runtime.KeepAlive(s)
//
// The number is borrowed, and is good as long as the Set is open. The garbage collector closes a
// Set that nothing refers to. So keep the Set until the number is not used any more: by a Close
// after that, also a deferred one, or by runtime.KeepAlive.
//
// The caller must not close the descriptor: it belongs to this Set, and to other Sets with the same
// namespace. For a namespace that is home, the program uses it to restore its threads. It is
// close-on-exec. [Set.File] returns a descriptor that is the caller's own.
//
// Fd returns -9, that is -EBADF, if there is no descriptor. The Set may be closed or nil, or have
// no namespace of the type, or t may be several types. [Set.File] returns an error that says why.
// The number is not -1, because netlink and netns take -1 for "the namespace of this thread", and
// would work on the host's interfaces without an error.
func (s *Set) Fd(t Type) int {
	c, err := s.acquireOne("fd", t)
	if err != nil {
		return noFd
	}
	defer c.release()
	return c.fd(t)
}

// noFd is -EBADF. The kernel has other meanings for some negative numbers: AT_FDCWD is -100.
const noFd = -9

// acquireOne is acquire for a method about one type that the Set must have.
func (s *Set) acquireOne(op string, t Type) (*core, error) {
	if err := t.check(); err != nil {
		return nil, newError(op, 0, "", err)
	}
	if !t.single() {
		return nil, newError(op, t, "", errOneType)
	}
	c, err := s.acquire(op)
	if err != nil {
		return nil, err
	}
	if c.types&t == 0 {
		defer c.release()
		return nil, newError(op, t, "", errNotInSet).withHint("it has " + c.types.String())
	}
	return c, nil
}

var (
	errOneType  = errors.New("one type at a time, please")
	errNotInSet = errors.New("the Set has no namespace of this type")
)

// Dup returns another Set of the same namespaces. With types it has only these, and the Set must
// have all of them. The new Set has a worker of its own.
func (s *Set) Dup(types ...Type) (*Set, error) {
	c, err := s.acquire("dup")
	if err != nil {
		return nil, err
	}
	defer c.release()
	keep := c.types
	if len(types) > 0 {
		if keep, err = union(types); err != nil {
			return nil, newError("dup", 0, "", err)
		}
		if missing := keep &^ c.types; missing != 0 {
			return nil, newError("dup", missing, "", errNotInSet).withHint("it has " + c.types.String())
		}
	}
	return newSet(c.pick(keep, nil)), nil
}

// Without returns a Set of the same namespaces, except those of the given types.
func (s *Set) Without(types Type) (*Set, error) {
	if err := types.check(); err != nil {
		return nil, newError("without", 0, "", err)
	}
	c, err := s.acquire("without")
	if err != nil {
		return nil, err
	}
	defer c.release()
	return newSet(c.pick(c.types&^types, nil)), nil
}

// With returns a Set of the namespaces of both. If both have a type, the new Set has the namespace
// of other.
func (s *Set) With(other *Set) (*Set, error) {
	c, err := s.acquire("with")
	if err != nil {
		return nil, err
	}
	defer c.release()
	o, err := other.acquire("with")
	if err != nil {
		return nil, err
	}
	defer o.release()
	return newSet(c.pick(c.types, o)), nil
}

// Close closes the Set's descriptors and ends its worker. It can be called at any time and more
// than once. It returns nil, except for a nil Set. After that, new work is refused with
// [ErrClosed].
//
// Functions in a worker process have their context cancelled, and end with the worker. Close waits
// for that, within the worker's grace period. Close does not wait for closures and commands: these
// hold the namespaces until the closure has returned, or the Wait of the command. So a closure may
// close the Set in which it runs.
//
// A namespace ends when nothing has it any more: no Set, process, thread, socket, open file or
// mount. Even then the kernel needs some time to remove its contents, and Close does not wait for
// that. The devices of a net namespace, and the other ends of its veth pairs, may exist for some
// tenths of a second more. Devices of hardware come back to the host only then (cleanup_net in
// net/core/net_namespace.c). So do not use the name of a device again at once. Tests have
// gonsotest.Eventually.
func (s *Set) Close() error {
	c := s.get()
	if c == nil {
		return newError("close", 0, "", errNilSet)
	}
	c.close()
	return nil
}

// String lists the namespaces of the Set, "{net:[4026532008] uts:[4026532007]}".
func (s *Set) String() string {
	c, err := s.acquire("string")
	switch {
	case errors.Is(err, ErrClosed):
		return "{closed}"
	case errors.Is(err, errNilSet):
		return "{nil}"
	case err != nil:
		return "{unsupported}"
	}
	defer c.release()
	return c.String()
}

// Plan says how work would run in the Set, and why. It reads the options [InThread], [InProcess]
// and [Isolated], and ignores others.
func (s *Set) Plan(opts ...DoOption) Plan {
	p := Plan{Set: s.String()}
	c, err := s.acquire("plan")
	if err != nil {
		p.Closures.Err, p.Functions.Err = err, err
		return p
	}
	defer c.release()
	o := doOptions(opts)
	if o.bad != nil {
		err := newError("plan", 0, "", o.bad)
		p.Closures.Err, p.Functions.Err = err, err
		return p
	}
	known := *c.facts()
	f := &known
	f.noWayHome = c.noWayHome()
	p.Closures = plan(f, work{closure: true})
	p.Functions = plan(f, work{inThread: o.inThread, inProcess: o.inProcess, hostFiles: c.workerHostFiles()})
	return p
}
