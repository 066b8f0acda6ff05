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

// NewFile is os.NewFile for files that somebody else may have made. If a file does not block,
// os.NewFile gives it to the runtime's poller (epoll_ctl(2)), and the kernel asks the file system
// whether the file is ready. If the server of a FUSE does not answer then, the poller waits, and
// with it every connection of this program (fs/eventpoll.c, ep_insert, calls poll with the lock of
// all). So files that a file system answers for are kept from the poller: it is of no use to
// ordinary files anyway. A file without a type is made to block: it may be a poller itself.
func NewFile(fd int, name string) *os.File {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK == 0 {
		return os.NewFile(uintptr(fd), name)
	}
	var st unix.Statx_t
	// From the kernel's memory: otherwise the file system would be asked. If this fails, the file
	// has no type.
	_ = unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK, unix.S_IFIFO, unix.S_IFCHR: // only the host can make devices
		return os.NewFile(uintptr(fd), name)
	}
	_ = unix.SetNonblock(fd, false)
	f := os.NewFile(uintptr(fd), name)
	if st.Mode&unix.S_IFMT != 0 {
		_ = unix.SetNonblock(fd, true)
	}
	return f
}
