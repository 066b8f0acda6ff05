package gonso

import (
	"errors"
	"fmt"
	"os"
)

// Owner returns a Set of just the user namespace that owns the Set's namespace
// of the given type: that in which capabilities over it count. Of a user
// namespace it is the parent. Its caller closes it.
//
// It needs no privilege, but the owner has to be this process's user namespace
// or below it: the kernel answers EPERM for any other, and at the top.
func (s *Set) Owner(t Type) (*Set, error) {
	return s.related("owner", t, (*core).owner)
}

// Parent returns a Set of just the parent of the Set's user or pid namespace,
// which its caller closes; other types have none, and the error for them matches
// [os.ErrInvalid].
//
// It needs no privilege, but the parent has to be the namespace that this process
// is in, or below it: the kernel answers EPERM for any other, and at the top.
func (s *Set) Parent(t Type) (*Set, error) {
	if t.single() && t&(User|PID) == 0 {
		return nil, newError("parent", t, "", fmt.Errorf("only user and pid namespaces have parents: %w", os.ErrInvalid))
	}
	return s.related("parent", t, (*core).parent)
}

func (s *Set) related(op string, t Type, f func(*core, Type) (*core, error)) (*Set, error) {
	c, err := s.acquireOne(op, t)
	if err != nil {
		return nil, err
	}
	defer c.release()
	r, err := f(c, t)
	if err != nil {
		return nil, err
	}
	return newSet(r), nil
}

// OwnerUID returns the id of the user who made the Set's user namespace, as this
// process's user namespace has it; if it is not mapped there, that is the
// overflow id, 65534 (/proc/sys/kernel/overflowuid). That user has all
// capabilities in it from outside (user_namespaces(7)).
//
// It needs no privilege.
func (s *Set) OwnerUID() (uint32, error) {
	c, err := s.acquireOne("owner uid", User)
	if err != nil {
		return 0, err
	}
	defer c.release()
	return c.ownerUID()
}

// IDMaps returns the id maps of the Set's user namespace, in the order in which
// the kernel has them; empty ones if none were written. Outside ids are those
// of this process's user namespace, not those of the parent where that is
// another; one that is not mapped there is 4294967295. Where the Set's user
// namespace is this process's own, they are those of its parent. See "User and
// group ID mappings" in user_namespaces(7).
//
// Only a process inside shows them. If the user namespace is not this process's own, a
// short-lived helper process is started, which shares no memory with this one. This needs
// CAP_SYS_ADMIN in that user namespace, as entering does, and the process
// backend; without that the error matches [errors.ErrUnsupported].
func (s *Set) IDMaps() (uid, gid []IDMap, err error) {
	c, err := s.acquireOne("id maps", User)
	if err != nil {
		return nil, nil, err
	}
	defer c.release()
	u, g, err := c.idMaps()
	if err != nil {
		return nil, nil, err
	}
	uid, uerr := parseIDMaps(u)
	gid, gerr := parseIDMaps(g)
	if err := errors.Join(uerr, gerr); err != nil {
		return nil, nil, newError("id maps", User, "", err)
	}
	return uid, gid, nil
}
