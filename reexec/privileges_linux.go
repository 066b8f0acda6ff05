package reexec

import "github.com/gonso/gonso/internal/sys"

// Privileges are what a process inherits from the thread that starts it, but for namespaces and files. Where
// those of two threads are equal, it makes no difference which of them starts a process.
type Privileges struct {
	sys.Privileges
	filters string // of system calls
}

// ThreadPrivileges asks for those of the calling thread, to which the caller is locked.
func ThreadPrivileges() (p Privileges, err error) {
	if p.Privileges, err = sys.ThreadPrivileges(); err == nil {
		p.filters, err = filtersOfThread()
	}
	return p, err
}
