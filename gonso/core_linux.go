package gonso

import (
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/nsfs"
	"github.com/gonso/gonso/reexec"
)

// core has the namespaces of a Set. Its uses are counted, so that Close does not disturb running
// work. Only refs, closed and the worker change after a Set has the core.
type core struct {
	refs   atomic.Int64 // the Set's own and one for each use in flight
	closed atomic.Bool

	ns      [numTypes]*nsfs.NS
	types   Type
	foreign Type // not home
	opened  Type // opened from outside: not made by Unshare, and not the caller's own

	copied bool // its mnt namespace was made from this program's, and shows the same files

	reaper *reexec.Reaper // the init of its pid namespace, if Unshare has made that

	threadJoin []Type // for closures: the foreign types, in the order of joining
	closureErr error  // why closures cannot run

	factsOnce sync.Once
	known     facts
	users     []*nsfs.NS // the user namespaces that known.level counts, from 1

	workerMu sync.Mutex
	workerAs Worker
	worker   interface{ Close() } // a *reexec.Worker; programs without functions do not link that type

	workerItems *codec.Items // under workerMu too; nil before the first channel
}

func newCore() *core {
	c := &core{}
	c.refs.Store(1)
	return c
}

// add adds ns, and owns it from then on.
func (c *core) add(t Type, ns *nsfs.NS, opened bool) {
	i := t.index()
	switch h := home[i]; {
	case h != nil && h.Same(ns):
		if keepHome(i) == nil {
			ns.Release()
			ns = h.Retain()
		}
	default:
		c.foreign |= t
		if opened {
			c.opened |= t
			if t == Mount {
				reexec.BeCautious()
			}
		}
	}
	c.ns[i] = ns
	c.types |= t
}

// ready is called once, when all namespaces are there.
func (c *core) ready() *core {
	d := decide(&facts{types: c.types, foreign: c.foreign}, work{closure: true})
	c.closureErr = d.err
	c.threadJoin = threadOrder(c.foreign)
	return c
}

func (c *core) acquire() error {
	for {
		n := c.refs.Load()
		if n == 0 || c.closed.Load() {
			return ErrClosed
		}
		if c.refs.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

func (c *core) release() {
	if c.refs.Add(-1) == 0 {
		for _, ns := range append(c.users, c.ns[:]...) {
			if ns != nil {
				ns.Release()
			}
		}
	}
}

func (c *core) close() {
	if !c.closed.CompareAndSwap(false, true) {
		return
	}
	c.workerMu.Lock()
	w := c.worker
	c.workerMu.Unlock()
	if w != nil {
		w.Close()
	}
	c.release()
}

// wait also works after the Set was closed.
func (c *core) wait(ctx context.Context) error {
	switch {
	case c.types&PID == 0:
		return newError("wait", PID, "", errNotInSet).withHint("it has " + c.types.String())
	case c.reaper == nil:
		return newError("wait", PID, "", errOthersInit)
	}
	select {
	case <-c.reaper.Gone():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := c.reaper.Err(); err != nil {
		return newError("wait", PID, "", err)
	}
	return nil
}

func (c *core) id(t Type) ID {
	ns := c.ns[t.index()]
	return ID{Type: t, Dev: ns.Dev(), Ino: ns.Ino()}
}

// fd is noFd if the program has closed the descriptor: its number may be another file's by now.
func (c *core) fd(t Type) int {
	ns := c.ns[t.index()]
	if ns == home[t.index()] {
		_ = keepHome(t.index())
	}
	if ns.Check() != nil {
		return noFd
	}
	return ns.FD()
}

func (c *core) file(t Type) (*os.File, error) {
	ns := c.ns[t.index()]
	if ns == home[t.index()] {
		_ = keepHome(t.index()) // DupFile says what is wrong
	}
	f, err := ns.DupFile()
	if err != nil {
		return nil, newError("file", t, "", err)
	}
	return f, nil
}

// intact fails if the program has closed a descriptor of the Set.
func (c *core) intact(op string) (err error) {
	c.foreign.each(func(i int, t Type) {
		if cerr := c.ns[i].Check(); cerr != nil && err == nil {
			err = newError(op, t, "", cerr)
		}
	})
	return err
}

// pick makes a core of all of o's namespaces and the given ones of c. If both have a type, o's
// counts.
func (c *core) pick(types Type, o *core) *core {
	n := newCore()
	take := func(from *core, types Type) {
		types.each(func(i int, t Type) {
			n.add(t, from.ns[i].Retain(), from.opened&t != 0)
		})
		if types&Mount != 0 {
			n.copied = from.copied
		}
		if types&PID != 0 {
			n.reaper = from.reaper
		}
	}
	if o != nil {
		take(o, o.types)
		types &^= o.types
	}
	take(c, types)
	return n.ready()
}

func (c *core) String() string {
	var parts []string
	c.types.each(func(_ int, t Type) { parts = append(parts, c.id(t).String()) })
	return "{" + strings.Join(parts, " ") + "}"
}

// facts asks the kernel once which user namespace owns each namespace.
func (c *core) facts() *facts {
	c.factsOnce.Do(func() {
		c.known = facts{types: c.types, foreign: c.foreign, process: reexec.Supported(), opened: c.opened}
		c.known.hostFiles = c.foreign&Mount == 0 || c.copied
		if c.foreign&User == 0 {
			return
		}
		c.users = ancestry(c.ns[User.index()])
		c.known.depth = len(c.users)
		(c.foreign &^ User).each(func(i int, _ Type) { c.known.level[i] = levelOf(c.ns[i], c.users) })
	})
	return &c.known
}

// ancestry lists the user namespaces from below this process's own down to user.
func ancestry(user *nsfs.NS) []*nsfs.NS {
	users := []*nsfs.NS{user.Retain()}
	for {
		// EPERM: the parent is not in this process's user namespace.
		up, err := users[0].Parent()
		if err != nil {
			return users
		}
		if h := home[User.index()]; h != nil && h.Same(up) {
			up.Release()
			return users
		}
		users = append([]*nsfs.NS{up}, users...)
	}
}

// levelOf walks up from the owner of ns until it comes to one of users. If it comes to none of
// them, the owner is this process's own user namespace, or one that this process cannot see.
func levelOf(ns *nsfs.NS, users []*nsfs.NS) int {
	o, err := ns.Owner()
	for err == nil {
		for i, u := range users {
			if o.Same(u) {
				o.Release()
				return i + 1
			}
		}
		up, uperr := o.Parent()
		o.Release()
		o, err = up, uperr
	}
	if errors.Is(err, unix.EPERM) {
		return 0
	}
	return levelUnknown
}
