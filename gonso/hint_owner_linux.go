package gonso

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/nsfs"
	"github.com/gonso/gonso/reexec"
)

// addOwner adds the owner of the namespace that a launcher could not join, if the Set has that
// namespace.
func (c *core) addOwner(ev *evidence, err error) {
	le, ok := errors.AsType[*reexec.LaunchError](err)
	if !ok || le.Op != "setns" || le.Inside || !Type(le.Type).single() {
		return
	}
	t := Type(le.Type)
	ns := c.ns[t.index()]
	if ns == nil {
		return
	}
	ev.owner = ownerOf(ns)
	if t == User {
		uid, err := ns.OwnerUID()
		ev.ownsIt = err == nil && uid == uint32(os.Geteuid())
	}
}

// ownerOfMounts says which user namespace owns the mnt namespace that the calling thread is in.
func ownerOfMounts() ownership {
	made, err := openCurrent(Mount, false)
	if err != nil {
		return ownerUnknown
	}
	defer made.release()
	return ownerOf(made.ns[Mount.index()])
}

// ownerOf says which user namespace owns a namespace, as far as the kernel shows it.
func ownerOf(ns *nsfs.NS) ownership {
	own := home[User.index()]
	o, err := ns.Owner()
	switch {
	case errors.Is(err, unix.EPERM):
		return ownerIsElsewhere
	case err != nil:
		return ownerUnknown
	}
	defer o.Release()
	switch {
	case own == nil:
		return ownerUnknown
	case own.Same(o):
		return ownerIsOwn
	}
	return ownerIsBelow
}
