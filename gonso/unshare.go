package gonso

import (
	"errors"
	"fmt"
	"os"
)

// Unshare makes new namespaces of the given types, as children or copies of the caller's, and
// returns a Set of only these. It does the same as Current(types) and then [Set.Unshare].
//
// With [User] among the types no privilege is needed where the system allows
// unprivileged user namespaces, and the new user namespace owns the others.
// Without it, CAP_SYS_ADMIN is needed.
//
// Defaults: id 0 of a new user namespace is the caller's effective uid and gid. A new mount
// namespace is a slave of the one from which it is copied. A new pid namespace has an init that
// lives as long as a Set has the namespace. A new time namespace has the clocks of the one from
// which it is made (Linux 5.6). The section "Namespaces that are made" of the package's
// documentation says more.
//
// If the program is in a chroot, this root is the root of a new mount namespace, and the rest of
// the file system is not in it. User namespaces cannot be made in a chroot (EPERM, unshare(2)).
func Unshare(types Type, opts ...UnshareOption) (*Set, error) {
	// Check first, so that no descriptor is opened for a call that is refused.
	if _, err := unshareConfig(types, opts); err != nil {
		return nil, err
	}
	base, err := Current(types)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	return base.Unshare(types, opts...)
}

// Unshare makes new namespaces of the given types inside the Set. The Set's user namespace owns
// them, and they are made from the Set's other namespaces. The new Set has the new namespaces in
// place of the Set's, and the Set's for all other types.
//
// If the Set has a user namespace of its own, only the privilege to enter it is needed. A new user
// namespace is then its child: the outside ids of id maps are ids of the Set's user namespace, and
// the default maps id 0 of that.
func (s *Set) Unshare(types Type, opts ...UnshareOption) (*Set, error) {
	o, err := unshareConfig(types, opts)
	if err != nil {
		return nil, err
	}
	c, err := s.acquire("unshare")
	if err != nil {
		return nil, err
	}
	defer c.release()
	made, err := c.unshare(types, o)
	if err != nil {
		return nil, o.naming(err)
	}
	defer made.release()
	return newSet(c.pick(c.types, made)), nil
}

// unshareConfig reads the options. It refuses options that are wrong or do not fit together.
func unshareConfig(types Type, opts []UnshareOption) (*unshareOptions, error) {
	o := &unshareOptions{}
	for _, opt := range opts {
		if opt != nil {
			opt(o)
		}
	}
	if err := o.check(types); err != nil {
		return nil, newError("unshare", types, "", err)
	}
	return o, nil
}

func (o *unshareOptions) check(types Type) error {
	if err := types.check(); err != nil {
		return err
	}
	needs := func(t Type, option string) error {
		return fmt.Errorf("%s needs %v among the types, to make one: %w", option, t, os.ErrInvalid)
	}
	if types&User == 0 {
		switch {
		case o.idMaps:
			return needs(User, "IDMaps")
		case o.noIDMaps:
			return needs(User, "NoIDMaps")
		case o.subIDs:
			return needs(User, o.subIDsAs)
		case o.setgroups != nil:
			return needs(User, "Setgroups")
		case o.ownerUID != nil:
			return needs(User, "OwnerUID")
		}
	}
	if o.ownerUID != nil && *o.ownerUID == pastLastID {
		return fmt.Errorf("%s: %d is never an id, it is (uid_t) -1: %w", "OwnerUID", *o.ownerUID, os.ErrInvalid)
	}
	switch {
	case o.clockOffsets != nil && types&Time == 0:
		return needs(Time, "ClockOffsets (the clocks of a time namespace that is in use cannot be set)")
	case len(o.fresh) > 0 && types&Mount == 0:
		return needs(Mount, o.fresh[0].option)
	case o.loopbackUp && types&Net == 0:
		return needs(Net, "LoopbackUp")
	}
	for _, m := range o.fresh {
		if err := m.check(); err != nil {
			return err
		}
	}
	if o.propagation != nil {
		if types&Mount == 0 {
			return needs(Mount, "Propagation")
		}
		if *o.propagation > PropagationUnchanged {
			return fmt.Errorf("%s: %d is none of PropagationSlave, PropagationPrivate, PropagationShared and PropagationUnchanged: %w",
				"Propagation", *o.propagation, os.ErrInvalid)
		}
	}
	switch {
	case o.idMaps && o.noIDMaps:
		return exclude("IDMaps", "NoIDMaps")
	case o.subIDs && o.idMaps:
		return exclude(o.subIDsAs, "IDMaps")
	case o.subIDs && o.noIDMaps:
		return exclude(o.subIDsAs, "NoIDMaps")
	}
	if o.idMaps {
		return errors.Join(checkIDMaps("IDMaps: uid", o.uid), checkIDMaps("IDMaps: gid", o.gid))
	}
	return nil
}

// naming puts the name of an option first in an error, if the kernel refused a step for this
// option.
func (o *unshareOptions) naming(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	option := ""
	switch e.Op {
	case "mount":
		if len(o.fresh) > 0 && e.Path != "" {
			option = o.fresh[0].option
		}
	case "socket", "socket in", "ioctl", "set loopback up in":
		if o.loopbackUp {
			option = "LoopbackUp"
		}
	case "set propagation of":
		if o.propagation != nil {
			option = "Propagation"
		}
	}
	if option != "" {
		e.Err = about(option, e.Err)
	}
	return err
}
