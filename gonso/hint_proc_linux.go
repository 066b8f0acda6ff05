package gonso

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
)

// sysctlsHidden is the option by which /proc has no sysctls, or "".
func sysctlsHidden(mounts []mountLine) string {
	fd, err := procfs.Open("sys", unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		unix.Close(fd)
		return ""
	}
	return procOption(mounts, "subset")
}

// withHiddenProcess says so where a process is there that /proc does not show. err is of looking it up.
func withHiddenProcess(e *Error, pid int, err error) *Error {
	if !errors.Is(err, unix.ESRCH) || unix.Kill(pid, 0) == unix.ESRCH {
		return e
	}
	mounts, merr := threadMounts()
	if option := procOption(mounts, "hidepid"); merr == nil && option != "" {
		e.Hint = sayHidden(pid, option)
	}
	return e
}
