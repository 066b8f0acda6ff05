package gonso

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/nsfs"
	"github.com/gonso/gonso/reexec"
)

func (c *core) owner(t Type) (*core, error) {
	ns, err := c.ns[t.index()].Owner()
	if errors.Is(err, unix.EPERM) {
		return nil, newError("owner", t, "", err).
			withHint("the user namespace that owns it is neither this process's own nor below that, so it is not to be seen from here")
	}
	return c.relative("owner", t, User, ns, err)
}

func (c *core) parent(t Type) (*core, error) {
	ns, err := c.ns[t.index()].Parent()
	if errors.Is(err, unix.EPERM) {
		return nil, newError("parent", t, "", err).
			withHint("it has no parent, or one that is neither this process's own namespace nor below that, so it is not to be seen from here")
	}
	return c.relative("parent", t, t, ns, err)
}

// relative makes a core of ns, of type t, which the kernel returned for the Set's namespace of the
// other type. It counts as somebody else's if that one does.
func (c *core) relative(op string, of, t Type, ns *nsfs.NS, err error) (*core, error) {
	if err != nil {
		return nil, newError(op, of, "", err)
	}
	r := newCore()
	r.add(t, ns, c.opened&of != 0)
	return r.ready(), nil
}

func (c *core) ownerUID() (uint32, error) {
	uid, err := c.ns[User.index()].OwnerUID()
	if err != nil {
		return 0, newError("owner uid", User, "", err)
	}
	return uid, nil
}

// userNS looks at the user namespace that work in the Set is in.
func (c *core) userNS(op string) (*reexec.UserNS, error) {
	if c.foreign&User == 0 {
		u, err := reexec.LookAtOwnUserNS()
		if err != nil {
			err = newError(op, User, "", err)
		}
		return u, err
	}
	if err := c.intact(op); err != nil {
		return nil, err
	}
	ctx, cancel := createContext()
	defer cancel()
	u, err := reexec.LookAtUserNS(ctx, c.joins(User), c.exposes(User))
	if err != nil {
		return u, launchErrorWith(User, err, func(ev *evidence) { c.addOwner(ev, err) })
	}
	return u, nil
}

func (c *core) idMaps() (uid, gid string, err error) {
	u, err := c.userNS("id maps")
	if err != nil {
		return "", "", err
	}
	return u.UIDMap, u.GIDMap, nil
}
