package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// noLinger lets the kernel end the connection of f, if it is one, after close has returned.
func noLinger(f *os.File) {
	_ = OnFD(f, func(fd int) error { return noLingerFD(fd) })
}

func noLingerFD(fd int) error {
	return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{})
}

// CloseFDs is CloseReceived for descriptors of which there is no os.File. There may be tens of
// thousands of them.
func CloseFDs(fds []int) {
	if len(fds) == 0 {
		return
	}
	WithinTime(CloseTimeout, func() {
		for _, fd := range fds {
			_ = noLingerFD(fd)
			unix.Close(fd)
		}
	})
}
