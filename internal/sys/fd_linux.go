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

// NewFile is os.NewFile for what somebody else may have made. Of a file that does not block os.NewFile
// asks its file system whether it is ready, for the runtime's poller (epoll_ctl(2)). A FUSE whose server
// does not answer keeps the poller then, and with it every connection of this program
// (fs/eventpoll.c, ep_insert, calls poll with the lock of all). So what a file system answers for is kept
// from the poller, of no use to ordinary files anyway; and what has no type is made to block, as it may be
// such a poller itself.
func NewFile(fd int, name string) *os.File {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK == 0 {
		return os.NewFile(uintptr(fd), name)
	}
	var st unix.Statx_t
	// Of what it knows already, or the file system would be asked. What fails has no type.
	_ = unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFSOCK, unix.S_IFIFO, unix.S_IFCHR: // devices are the host's to make
		return os.NewFile(uintptr(fd), name)
	}
	_ = unix.SetNonblock(fd, false)
	f := os.NewFile(uintptr(fd), name)
	if st.Mode&unix.S_IFMT != 0 {
		_ = unix.SetNonblock(fd, true)
	}
	return f
}
