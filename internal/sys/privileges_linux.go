package sys

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Privileges decide what a thread, and a process that it starts, may do. Filters of system calls
// are not part of them: only procfs tells those apart.
type Privileges struct {
	UIDs, GIDs        [3]int // real, effective, saved
	Groups            string
	Caps              Caps
	Bounding, Ambient CapSet
	Securebits        int
	NoNewPrivs        int
}

// ThreadPrivileges returns the privileges of the calling thread.
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
			break // the kernel has no more capabilities
		}
		p.Bounding |= CapSet(has) << c
		if p.Caps.Inheritable.Has(uint(c)) { // no others can be ambient
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
