package sys

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Privileges are what decides what a thread may do, and what a process that it starts may, but for filters of
// system calls, which only procfs tells apart.
type Privileges struct {
	UIDs, GIDs        [3]int // real, effective, saved
	Groups            string
	Caps              Caps
	Bounding, Ambient CapSet
	Securebits        int
	NoNewPrivs        int
}

// ThreadPrivileges asks for those of the calling thread.
func ThreadPrivileges() (p Privileges, err error) {
	p.UIDs[0], p.UIDs[1], p.UIDs[2] = unix.Getresuid()
	p.GIDs[0], p.GIDs[1], p.GIDs[2] = unix.Getresgid()
	groups, err := unix.Getgroups()
	if err != nil {
		return p, err
	}
	p.Groups = fmt.Sprint(groups)
	if p.Caps, err = ThreadCaps(); err != nil {
		return p, err
	}
	for c := range uintptr(64) {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err != nil {
			break // the kernel has no more
		}
		p.Bounding |= CapSet(has) << c
		if p.Caps.Inheritable.Has(uint(c)) { // none else can be ambient
			has, err = unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, c, 0, 0)
			if err != nil {
				return p, err
			}
			p.Ambient |= CapSet(has) << c
		}
	}
	if p.Securebits, err = unix.PrctlRetInt(unix.PR_GET_SECUREBITS, 0, 0, 0, 0); err != nil {
		return p, err
	}
	p.NoNewPrivs, err = unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return p, err
}
