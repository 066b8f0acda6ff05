package reexec

import (
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// Privileges are what a process inherits from the thread that starts it, but for namespaces and files. Where
// those of two threads are equal, it makes no difference which of them starts a process.
type Privileges struct {
	sys.Privileges
	status string // as /proc/thread-self/status has it, where seccomp filters hold
}

// ThreadPrivileges asks for those of the calling thread, to which the caller is locked.
func ThreadPrivileges() (p Privileges, err error) {
	if p.Privileges, err = sys.ThreadPrivileges(); err != nil || p.Seccomp != unix.SECCOMP_MODE_FILTER {
		return p, err
	}
	// Only the status says how many filters there are.
	d, err := procfs.Thread()
	if err != nil {
		return p, err
	}
	defer d.Close()
	p.status, err = d.Privileges()
	return p, err
}
