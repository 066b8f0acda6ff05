package gonso

import (
	"errors"
	"io/fs"

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

// withHiddenProcess adds a hint if err is about a process that exists and that /proc does not show.
func withHiddenProcess(err error, pid int) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Hint != "" || !errors.Is(err, unix.ESRCH) && !errors.Is(err, fs.ErrNotExist) || unix.Kill(pid, 0) == unix.ESRCH {
		return err
	}
	if d, derr := procfs.Process(pid); derr == nil { // its directory is found, and all that is asked of it hidden
		defer d.Close()
		var st unix.Stat_t
		if unix.Fstat(d.FD(), &st) != unix.ENOENT {
			return err
		}
	}
	mounts, merr := threadMounts()
	if option := procOption(mounts, "hidepid"); merr == nil && option != "" {
		e.Hint = sayHidden(pid, option)
	}
	return err
}
