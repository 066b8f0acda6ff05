package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// DupFile duplicates f. The duplicate is close-on-exec, and its caller closes it.
func DupFile(f *os.File) (*os.File, error) {
	var dup *os.File
	err := OnFD(f, func(fd int) error {
		n, err := DupFD(fd)
		if err == nil {
			dup = os.NewFile(uintptr(n), f.Name())
		}
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "dup", Path: f.Name(), Err: err}
	}
	return dup, nil
}

// DupFD duplicates a descriptor, close-on-exec and behind the standard streams.
func DupFD(fd int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
}
