package reexec

import "github.com/gonso/gonso/internal/sys"

// Privileges has all that a process inherits from the thread that starts it, except namespaces and
// files. If two threads have equal Privileges, either can start a process.
type Privileges struct {
	sys.Privileges
	filters string // of system calls
}

// ThreadPrivileges returns the Privileges of the calling thread. The caller must be locked to it.
func ThreadPrivileges() (p Privileges, err error) {
	if p.Privileges, err = sys.ThreadPrivileges(); err == nil {
		p.filters, err = filtersOfThread()
	}
	return p, err
}
