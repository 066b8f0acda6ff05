package handshake

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// Mark marks the socket of a worker that is to be started. The mark is the value of SO_PEEK_OFF
// (socket(7)), an option of the socket that nobody else sets. Both ends of this conversation have
// no use for it. A process that has the socket can read the option without taking anything from the
// socket. If the kernel does not have this option, the worker looks at os.Args only.
func Mark(socket *os.File, entersMount bool) {
	m := markWorker
	if entersMount {
		m = markMount
	}
	_ = sys.OnFD(socket, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEEK_OFF, m) })
}

func readMark() int {
	m, err := unix.GetsockoptInt(SocketFD, unix.SOL_SOCKET, unix.SO_PEEK_OFF)
	if err != nil || m != markWorker && m != markMount {
		return 0
	}
	return m
}
