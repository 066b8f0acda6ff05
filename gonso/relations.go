package gonso

import (
	"errors"
	"fmt"
	"os"
)

// Owner returns a Set with one namespace: the user namespace that owns the Set's namespace of the
// given type. Capabilities in the owner count for that namespace. The owner of a user namespace is
// its parent. The caller closes the new Set.
//
// It needs no privilege. But the owner must be this process's user namespace, or below it. For
// every other owner, and at the top, the kernel returns EPERM.
func (s *Set) Owner(t Type) (*Set, error) {
	return s.related("owner", t, (*core).owner)
}

// Parent returns a Set with one namespace: the parent of the Set's user or pid namespace. The
// caller closes the new Set. Other types have no parent, and the error for them matches
// [os.ErrInvalid].
//
// It needs no privilege. But the parent must be the namespace of this process, or below it. For
// every other parent, and at the top, the kernel returns EPERM.
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

// OwnerUID returns the id of the user who made the Set's user namespace. It is an id of this
// process's user namespace. If the user is not mapped there, it is the overflow id, 65534
// (/proc/sys/kernel/overflowuid). The owner has all capabilities in the Set's user namespace, from
// outside (user_namespaces(7)).
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

// IDMaps returns the id maps of the Set's user namespace, in the order of the kernel. They are
// empty if no maps were written. Outside ids are ids of this process's user namespace, even if the
// parent is another one. An id that is not mapped there is 4294967295. If the Set's user namespace
// is this process's own, outside ids are ids of its parent. See "User and group ID mappings" in
// user_namespaces(7).
//
// The kernel shows the maps only in the files of a process inside. If the user namespace is not
// this process's own, a short-lived helper process is started, which shares no memory with this
// one. This needs CAP_SYS_ADMIN in that user namespace, and the process backend. Without the
// process backend the error matches [errors.ErrUnsupported].
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
