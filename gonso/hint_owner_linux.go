package gonso

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/nsfs"
)

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
