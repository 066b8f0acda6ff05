package wire

import (
	"os"

	"golang.org/x/sys/unix"
)

// DupFile duplicates f, close-on-exec, without Fd, which would make it blocking.
func DupFile(f *os.File) (*os.File, error) {
	fd, err := dup(f)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func dup(f *os.File) (int, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return -1, err
	}
	fd, dupErr := -1, error(nil)
	if err := raw.Control(func(old uintptr) { fd, dupErr = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 3) }); err != nil {
		return -1, &os.PathError{Op: "dup", Path: f.Name(), Err: os.ErrClosed} // what else it may be has no name outside of os
	}
	return fd, os.NewSyscallError("fcntl", dupErr)
}
