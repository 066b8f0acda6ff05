package sys

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// ReceiveFiles takes n files from a message that has arrived at a unix socket; if there are fewer,
// it takes no files. It does not wait.
func ReceiveFiles(socket *os.File, n int) (files []*os.File, err error) {
	var m Message
	err = OnFD(socket, func(fd int) (err error) {
		if m, err = Receive(fd, make([]byte, 1), n); err == nil {
			err = m.Bad
		}
		return err
	})
	for _, fd := range m.FDs {
		files = append(files, os.NewFile(uintptr(fd), "received"))
	}
	switch {
	case err != nil:
		err = os.NewSyscallError("recvmsg", err)
	case m.Cut && len(files) < n: // there is room for n, so nothing else cuts them
		err = NoMoreFiles()
	case m.Cut || len(files) != n:
		err = fmt.Errorf("%d descriptors were received where %d were due", len(files), n)
	default:
		return files, nil
	}
	CloseFiles(files)
	return nil, err
}

// A Message is what one recvmsg(2) has brought. The descriptors belong to the receiver, even if there
// was something wrong.
type Message struct {
	N   int   // bytes
	FDs []int // close-on-exec
	Cut bool  // there was more than room for descriptors, or this process may open no more
	Bad error // the message had something else than descriptors
}

// Receive takes a message with room for n descriptors from a unix socket. It does not wait: its error
// is EAGAIN if there is no message.
func Receive(socket int, b []byte, n int) (m Message, err error) {
	oob := make([]byte, unix.CmsgSpace(4*n))
	for {
		got, oobn, flags, _, err := unix.Recvmsg(socket, b, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return m, err
		}
		m.N, m.Cut = got, flags&unix.MSG_CTRUNC != 0
		m.FDs, m.Bad = receivedFDs(oob[:oobn])
		return m, nil
	}
}

// receivedFDs returns all descriptors of control messages (cmsg(3)). It returns them also with an
// error: the error says what else the messages had.
func receivedFDs(oob []byte) (fds []int, err error) {
	for len(oob) > 0 {
		hdr, data, rest, parseErr := unix.ParseOneSocketControlMessage(oob)
		if parseErr != nil {
			return fds, fmt.Errorf("control message: %w", parseErr)
		}
		oob = rest
		if hdr.Level != unix.SOL_SOCKET || hdr.Type != unix.SCM_RIGHTS {
			err = fmt.Errorf("control message of level %d, type %d", hdr.Level, hdr.Type)
			continue
		}
		got, parseErr := unix.ParseUnixRights(&unix.SocketControlMessage{Header: hdr, Data: data})
		if parseErr != nil {
			err = fmt.Errorf("control message: %w", parseErr)
		}
		fds = append(fds, got...)
	}
	return fds, err
}

// NoMoreFiles says why descriptors were lost on their way: this process, or the system, may open no
// more.
func NoMoreFiles() error {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0)
	if err == unix.ENFILE {
		return err
	}
	if err == nil { // others were closed meanwhile
		unix.Close(fd)
	}
	return unix.EMFILE
}
