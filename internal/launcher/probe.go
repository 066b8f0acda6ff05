//go:build linux

package launcher

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Probe is a system call that has no effect. Its answer shows whether it has reached the kernel:
// a filter of system calls does not look at the arguments, and gives another answer, or kills.
type Probe struct {
	name    string
	nr      uintptr
	args    func() []arg    // not made in package init, because few programs have a filter
	answers []syscall.Errno // of the kernel; no answer is 0
}

// Probes of calls that filters forbid.
var (
	ProbeKeyctl = &Probe{
		"keyctl", unix.SYS_KEYCTL,
		func() []arg { return []arg{number(1 << 20)} },
		[]syscall.Errno{unix.EOPNOTSUPP},
	}
	ProbeCloseRange = &Probe{
		"close_range", unix.SYS_CLOSE_RANGE,
		func() []arg { return []arg{symbol(1<<32-1, "~0"), symbol(1<<32-1, "~0"), number(0)} },
		nil,
	}
	ProbeExecveat = &Probe{
		"execveat", unix.SYS_EXECVEAT,
		func() []arg {
			return []arg{number(-1), text(""), argv, envp, symbol(unix.AT_EMPTY_PATH, "AT_EMPTY_PATH")}
		},
		[]syscall.Errno{unix.EBADF},
	}
	ProbeOpenat2 = &Probe{
		"openat2", unix.SYS_OPENAT2,
		func() []arg {
			return []arg{number(-1), text("x"), memory(quads(unix.O_PATH, 0, 0), "{O_PATH}"), number(unix.SizeofOpenHow)}
		},
		[]syscall.Errno{unix.EBADF},
	}
	ProbeClone3 = &Probe{
		"clone3", unix.SYS_CLONE3,
		func() []arg { return []arg{null, number(0)} },
		[]syscall.Errno{unix.EINVAL},
	}
	// If this process may not mount, the kernel answers EPERM. A filter may answer EPERM, too.
	ProbePivotRoot = &Probe{
		"pivot_root", unix.SYS_PIVOT_ROOT,
		func() []arg { return []arg{text(""), text("")} },
		[]syscall.Errno{unix.ENOENT, unix.EPERM},
	}
)

// Probe makes the call, and goes on with every result.
func (l *List) Probe(p *Probe) *Step {
	return l.add(p.name, p.nr, p.args()...).expects(0, ^uintptr(0), " = anything")
}

// Forbids reports whether a result of the Probe, as NextValue returns it, cannot be the kernel's.
func (p *Probe) Forbids(result int64) bool {
	if len(p.answers) == 0 {
		return result != 0
	}
	return !slices.Contains(p.answers, syscall.Errno(-result))
}
