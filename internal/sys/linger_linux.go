package sys

import (
	"os"

	"golang.org/x/sys/unix"
)

// noLinger lets the kernel end the connection of f, if it is one, after close has returned.
func noLinger(f *os.File) {
	_ = OnFD(f, func(fd int) error {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{})
	})
}
