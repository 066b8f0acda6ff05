package wire

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// Frames cross in two pipes, one each way. A pipe wakes only the side that waits, and costs half of
// what a socket costs. The socket carries only descriptors. The worker is started with the socket,
// and receives its ends of the pipes from it.

// Pair makes a connection and the descriptor to hand to the worker, which calls [TakeEnds] there. Both are closed by an
// exec that does not pass them on; the caller closes child once the worker has it.
func Pair() (parent *Conn, child *os.File, err error) {
	var fds []int
	defer func() {
		if err != nil {
			for _, fd := range fds {
				unix.Close(fd)
			}
		}
	}()
	sockets, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	fds = append(fds, sockets[:]...)
	var to, from [2]int // each: the reading end, the writing end
	for _, pipe := range []*[2]int{&to, &from} {
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			return nil, nil, os.NewSyscallError("pipe2", err)
		}
		fds = append(fds, pipe[:]...)
	}
	if err := unix.Sendmsg(sockets[0], []byte{0}, unix.UnixRights(to[0], from[1]), nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT); err != nil {
		return nil, nil, os.NewSyscallError("sendmsg", err)
	}
	for _, fd := range []int{sockets[0], to[1], from[0]} { // os.NewFile looks at this flag
		if err := unix.SetNonblock(fd, true); err != nil {
			return nil, nil, os.NewSyscallError("fcntl", err)
		}
	}
	parent, err = newConn(sockets[0], from[0], to[1], false)
	if err != nil {
		return nil, nil, err
	}
	unix.Close(from[1])
	// A pipe that has a reader cannot break: nobody ever gets SIGPIPE for it, neither a program that asks to be notified
	// nor one in which Go is a guest.
	parent.own = to[0]
	return parent, os.NewFile(uintptr(sockets[1]), "wire"), nil
}

// Ends are the descriptors of a worker's connection, before the worker makes a [Conn] of them.
type Ends struct {
	Socket int // for descriptors
	In     int // the end of a pipe to read frames from
	Out    int // the end of a pipe to write frames to
}

// TakeEnds takes the ends of the pipes out of the socket that the worker was started with. An exec
// closes them, and from then on the socket, too.
func TakeEnds(socket int) (Ends, error) {
	e := Ends{Socket: socket, In: -1, Out: -1}
	if err := checkSocket(socket); err != nil {
		return e, fmt.Errorf("wire: descriptor %d: %w", socket, err)
	}
	unix.CloseOnExec(socket)
	fds, lost, err := receiveFDs(socket, 2)
	if err == nil {
		err = lost
	}
	if err != nil {
		return e, fmt.Errorf("wire: the ends of the pipes: %w", err)
	}
	e.In, e.Out = fds[0], fds[1]
	return e, nil
}

// Greet sends h in a frame of type t. It is not a method of Conn: so the linker leaves Conn out of
// programs that do not use it.
func (e Ends) Greet(h Hello, t FrameType) error {
	f := h.Frame(t)
	b := append(header{typ: t, length: len(f.Payload)}.append(nil), f.Payload...)
	_, err := unix.Write(e.Out, b) // a new pipe has room
	return os.NewSyscallError("write", err)
}

// Conn returns a Conn for a caller that has a thread to spare. Read and Write block the thread in
// the kernel, which wakes it sooner than the runtime's poller could. There are no deadlines, and
// Close does not wake them.
func (e Ends) Conn() (*Conn, error) { return newConn(e.Socket, e.In, e.Out, true) }

func checkSocket(fd int) error {
	domain, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	typ, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if domain != unix.AF_UNIX || typ != unix.SOCK_STREAM {
		return fmt.Errorf("domain %d type %d is not a unix stream socket", domain, typ)
	}
	_, err = unix.Getpeername(fd)
	return os.NewSyscallError("getpeername", err)
}

// An end is a descriptor of the connection. The runtime's poller waits on it, unless it blocks.
type end struct {
	file *os.File
	raw  syscall.RawConn
	id   fileID
}

type fileID struct{ dev, ino uint64 }

func idOf(fd int) (id fileID, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return id, os.NewSyscallError("fstat", err)
	}
	return fileID{uint64(st.Dev), uint64(st.Ino)}, nil
}

func newEnd(fd int) (e end, err error) {
	if e.id, err = idOf(fd); err != nil {
		return e, err
	}
	e.file = os.NewFile(uintptr(fd), "wire")
	e.raw, err = e.file.SyscallConn()
	return e, err
}

// check fails if fd is not the file any more that the end was made of. A program may close all
// descriptors, as daemons do, and open its own files: nothing may be written to those. The check
// costs 0.2 µs.
func (e *end) check(fd int) error {
	id, err := idOf(fd)
	if err == nil && id != e.id {
		err = fmt.Errorf("descriptor %d was closed by somebody else and is another file now", fd)
	}
	return err
}

// receiveFDs takes the n descriptors that were sent before their frame was, and are there. lost
// says why some of them could not be received. The descriptors belong to the caller.
func receiveFDs(socket, n int) (fds []int, lost, err error) {
	// There is room for as many descriptors as the kernel can send. If some did not fit, recvmsg
	// would close them, and a lingering socket among them would block it.
	m, err := sys.Receive(socket, make([]byte, 1), scmMaxFD)
	if err == unix.EAGAIN || err == nil && m.N == 0 {
		return nil, nil, violation("%d descriptors announced that did not come", n)
	}
	if err != nil {
		return nil, nil, os.NewSyscallError("recvmsg", err)
	}
	fds = m.FDs
	switch {
	case m.Bad != nil:
		err = violation("%v", m.Bad)
	case len(fds) > n || len(fds) < n && !m.Cut:
		err = violation("%d descriptors announced where %d came", n, len(fds))
	case m.Cut:
		lost = fmt.Errorf("%d of its %d descriptors could not be received: %w", n-len(fds), n, sys.NoMoreFiles())
	}
	if err != nil || lost != nil {
		sys.CloseFDs(fds)
		fds = nil
	}
	return fds, lost, err
}

// sendFDs sends descriptors, all or none. The frame that announces them is sent afterwards.
func (e *end) sendFDs(fds []int) error {
	oob := unix.UnixRights(fds...)
	var sendErr error
	err := e.raw.Write(func(fd uintptr) (done bool) {
		for {
			sendErr = unix.Sendmsg(int(fd), []byte{0}, oob, nil, unix.MSG_NOSIGNAL)
			if sendErr != unix.EINTR {
				return sendErr != unix.EAGAIN
			}
		}
	})
	if err == nil {
		err = os.NewSyscallError("sendmsg", sendErr)
	}
	return err
}

// closeSocket closes the socket. The kernel then closes the descriptors that are queued in it. One
// of them may block the goroutine that closes the socket's last descriptor. So another goroutine
// closes the last one, a duplicate.
func (e *end) closeSocket() error {
	last := -1
	_ = e.raw.Control(func(fd uintptr) {
		if n, err := sys.DupFD(int(fd)); err == nil {
			last = n
			_ = unix.Shutdown(n, unix.SHUT_RDWR) // as closing would
		}
	})
	err := e.file.Close()
	if last >= 0 {
		sys.WithinTime(sys.CloseTimeout, func() { drainSocket(last) })
	}
	return err
}

// drainSocket closes a socket that was shut down. First it closes the descriptors that are queued
// in it.
func drainSocket(fd int) {
	defer unix.Close(fd)
	for b := make([]byte, smallFrame); ; {
		m, err := sys.Receive(fd, b, scmMaxFD)
		sys.CloseFDs(m.FDs)
		if err != nil || m.N == 0 {
			return
		}
	}
}
