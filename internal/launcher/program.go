//go:build linux

package launcher

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Steps on the way to a program that somebody chose.

// Try is an Execve that goes on if there is no file to execute: ENOENT, ENOTDIR, ELOOP and EACCES
// are expected results.
func (l *List) Try(path string) *Step {
	s := l.add("execve", unix.SYS_EXECVE, text(path), argv, envp)
	// One range for two of them: the errors between them come from other calls.
	low := -int64(unix.ENOTDIR)
	s.expects(uintptr(low), uintptr(unix.ENOTDIR-unix.EACCES), " = ENOTDIR or EACCES")
	return s.Tolerate(unix.ENOENT, unix.ELOOP)
}

// TryOpen opens a file for TryExecveat. exec closes it. It goes on after the same errors as Try.
func (l *List) TryOpen(path string) *Step {
	s := l.add("openat", unix.SYS_OPENAT, FD(unix.AT_FDCWD).arg(), text(path), flags(unix.O_PATH|unix.O_CLOEXEC, openFlags))
	low := -int64(unix.ENOTDIR)
	s.expects(uintptr(low), uintptr(unix.ENOTDIR+1<<20), " >= 0 or ENOTDIR or EACCES")
	return s.Tolerate(unix.ENOENT, unix.ELOOP)
}

// TryExecveat executes the file that TryOpen has opened. It goes on if it may not execute the file,
// or if TryOpen has failed (EBADF). ENOENT is the answer for scripts, and for formats that have an
// interpreter in the user namespace (binfmt_misc): the interpreter could not open the file.
func (l *List) TryExecveat(opened *Step) *Step {
	s := l.add("execveat", unix.SYS_EXECVEAT, opened.arg(), text(""), argv, envp, symbol(unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"))
	low := -int64(unix.EACCES)
	return s.expects(uintptr(low), uintptr(unix.EACCES-unix.EBADF), " = EACCES or EBADF")
}

// TryChdir changes the working directory if it can, and goes on in any case.
func (l *List) TryChdir(path string) *Step {
	s := l.Chdir(path)
	low := -int64(maxErrno)
	return s.expects(uintptr(low), maxErrno, " = 0 or any error")
}

// Setsid makes the process the leader of a new session.
func (l *List) Setsid() *Step { return l.add("setsid", unix.SYS_SETSID).givesAny() }

// SetTerminal makes fd the controlling terminal of the session that the process leads.
func (l *List) SetTerminal(fd Value) *Step {
	return l.add("ioctl", unix.SYS_IOCTL, fd.arg(), symbol(unix.TIOCSCTTY, "TIOCSCTTY"), number(0))
}

// SetgroupsTo sets the supplementary groups.
func (l *List) SetgroupsTo(groups []uint32) *Step {
	if len(groups) == 0 {
		return l.Setgroups()
	}
	return l.add("setgroups", sysSetgroups, number(len(groups)), memory(ints(groups...), fmt.Sprint(groups)))
}
