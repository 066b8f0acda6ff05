package gonso

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/nsfs"
	"github.com/gonso/gonso/internal/procfs"
)

// ownerOf says which user namespace owns a namespace, as far as the kernel shows it.
func ownerOf(ns *nsfs.NS) ownership {
	o, err := ns.Owner()
	if errors.Is(err, unix.EPERM) {
		return ownerIsElsewhere
	}
	if err != nil {
		return ownerUnknown
	}
	defer o.Release()
	var st, own unix.Stat_t
	fd, err := procfs.Link("thread-self/ns/user", unix.O_RDONLY)
	if err != nil {
		return ownerUnknown
	}
	defer unix.Close(fd)
	switch {
	case errors.Join(unix.Fstat(o.FD(), &st), unix.Fstat(fd, &own)) != nil:
		return ownerUnknown
	case st.Dev == own.Dev && st.Ino == own.Ino:
		return ownerIsOwn
	}
	return ownerIsBelow
}
