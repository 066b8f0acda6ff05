package wire

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// smallFrame is what Write copies together, because that costs less than gathering.
const smallFrame = 4 << 10

// scmMaxFD is how many descriptors a message can carry (include/net/scm.h). There is room for all:
// the kernel closes what does not fit, in recvmsg, which a lingering socket would hold up.
const scmMaxFD = 253

// A Conn carries frames over a connected SOCK_STREAM unix socket. All methods may be called at the
// same time.
type Conn struct {
	file   *os.File
	closed atomic.Bool
	raw    syscall.RawConn // file's, so that waiting is the runtime poller's affair

	readMu sync.Mutex
	in     deframer
	recvOp recvOp

	writeMu  sync.Mutex
	sendOp   sendOp
	scratch  []byte
	writeErr error // sticky: part of a frame went out
}

// recvOp and sendOp are the arguments and results of the functions given to raw. They and the
// functions live as long as the Conn, so a frame costs no closure.
type recvOp struct {
	conn  *Conn
	fn    func(fd uintptr) (done bool)
	flags int // to receive with
	fd    int
	p     []byte
	oob   []byte
	n     int
	oobn  int
	got   int // flags of what was received
	err   error
	spin  spinner
	look  func() bool
}

type sendOp struct {
	fn    func(fd uintptr) (done bool)
	flags int
	bufs  [3][]byte
	oob   []byte
	sent  int
	err   error
}

// FromFD makes a Conn of a connected unix stream socket. On success the Conn owns fd, which no
// longer blocks and is closed by an exec. On failure fd is untouched, as it may well be something
// else.
func FromFD(fd int) (*Conn, error) { return fromFD(fd, unix.MSG_DONTWAIT) }

// Greet sends h in a frame of type t on a connected unix stream socket that has no Conn yet. It is no method of
// Conn, which then stays out of programs that have no use for one.
func Greet(fd int, h Hello, t FrameType) error {
	f := h.Frame(t)
	b := append(header{typ: t, length: len(f.Payload)}.append(nil), f.Payload...)
	return os.NewSyscallError("send", unix.Send(fd, b, unix.MSG_NOSIGNAL))
}

// Blocking is FromFD for who has a thread to spare: Read and Write block it in the kernel, which
// wakes it sooner than the runtime's poller could. There are no deadlines.
func Blocking(fd int) (*Conn, error) { return fromFD(fd, 0) }

func fromFD(fd, flags int) (*Conn, error) {
	if err := checkSocket(fd); err != nil {
		return nil, fmt.Errorf("wire: descriptor %d: %w", fd, err)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, flags != 0); err != nil { // which os.NewFile goes by
		return nil, os.NewSyscallError("fcntl", err)
	}
	registerOnce.Do(registerProtocol)
	c := &Conn{file: os.NewFile(uintptr(fd), "wire")}
	raw, err := c.file.SyscallConn()
	if err != nil {
		return nil, err
	}
	c.raw = raw
	c.in.src = &c.recvOp
	c.recvOp = recvOp{conn: c, oob: make([]byte, unix.CmsgSpace(4*scmMaxFD)), flags: flags | unix.MSG_CMSG_CLOEXEC}
	c.recvOp.fn, c.recvOp.look = c.recvOp.try, c.recvOp.now
	c.sendOp = sendOp{flags: flags | unix.MSG_NOSIGNAL}
	c.sendOp.fn = c.sendOp.try
	return c, nil
}

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

// Pair makes a connection and the descriptor to hand to the worker, which calls FromFD there. Both
// are closed by an exec that does not pass them on; the caller closes child once the worker has it.
func Pair() (parent *Conn, child *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if parent, err = FromFD(fds[0]); err != nil {
		unix.Close(fds[0])
		unix.Close(fds[1])
		return nil, nil, err
	}
	return parent, os.NewFile(uintptr(fds[1]), "wire"), nil
}

// Close ends the connection and wakes Read and Write, which return an error matching os.ErrClosed.
// Descriptors that have arrived and were not taken are closed. Further calls do nothing.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	if c.recvOp.flags&unix.MSG_DONTWAIT == 0 { // the poller cannot wake who is in the kernel
		_ = c.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
	err := c.close()
	c.readMu.Lock() // soon: Read has been woken
	defer c.readMu.Unlock()
	c.in.drop(os.ErrClosed)
	return err
}

// close closes the socket. With it go the descriptors that are queued in it, of which one may
// hold up whoever closes the last descriptor of the socket: a duplicate, elsewhere.
func (c *Conn) close() error {
	last := -1
	_ = c.raw.Control(func(fd uintptr) {
		if n, err := sys.DupFD(int(fd)); err == nil {
			last = n
			_ = unix.Shutdown(n, unix.SHUT_RDWR) // what closing would do
		}
	})
	err := c.file.Close()
	if last >= 0 {
		sys.WithinTime(sys.CloseTimeout, func() { closeSocket(last) })
	}
	return err
}

// closeSocket closes a socket that was shut down, after what is queued in it.
func closeSocket(fd int) {
	defer unix.Close(fd)
	b, oob := make([]byte, smallFrame), make([]byte, unix.CmsgSpace(4*scmMaxFD))
	for {
		n, oobn, _, _, err := unix.Recvmsg(fd, b, oob, unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		if n == 0 && oobn == 0 && err != unix.EINTR || err != nil && err != unix.EINTR {
			return
		}
		fds, _ := sys.ReceivedFDs(oob[:oobn])
		closeFDs(fds)
	}
}

// Shutdown ends the connection in both directions, whoever else has the other end: Read gives
// what has arrived and then io.EOF, Write fails. The Conn still has to be closed.
func (c *Conn) Shutdown() {
	_ = c.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) })
}

// SetReadDeadline bounds Read, unless the Conn is a blocking one (os.ErrNoDeadline); the zero time
// takes the bound away. A Read that ran out of time (os.ErrDeadlineExceeded) may be repeated unless
// it had begun on a payload.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.file.SetReadDeadline(t) }

// waitErr gives the error of raw's methods its public name: they do not.
func (c *Conn) waitErr(err error) error {
	if err != nil && c.closed.Load() {
		return os.ErrClosed
	}
	return err
}

// Read gives the next frame. It returns io.EOF when the peer ended between two frames,
// io.ErrUnexpectedEOF when it ended within one, and an error matching ErrProtocol when it sent
// something else. All but running out of time are final.
func (c *Conn) Read() (Frame, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	got, err := c.in.next()
	if err != nil {
		return Frame{}, err
	}
	f := Frame{Type: got.typ, ID: got.id, Payload: got.payload, Lost: got.lost}
	if len(got.fds) > 0 {
		f.Files = make([]*os.File, len(got.fds))
		for i, fd := range got.fds {
			f.Files[i] = sys.NewFile(fd, "received")
		}
	}
	return f, nil
}

// SetGate has every frame pass g. It is called before the first Read.
func (c *Conn) SetGate(g Gate) { c.in.gate = g }

// recv is source's; readMu is held.
func (op *recvOp) recv(p []byte) (n int, fds []int, lost, err error) {
	op.p = p
	err = op.conn.raw.Read(op.fn)
	op.p = nil
	if err == nil {
		err = os.NewSyscallError("recvmsg", op.err)
	}
	if err == nil && op.n == 0 && op.conn.closed.Load() {
		err = os.ErrClosed // who blocks finds the end of the connection
	}
	if err != nil {
		return 0, nil, nil, op.conn.waitErr(err)
	}
	cut := op.got&unix.MSG_CTRUNC != 0
	if op.oobn == 0 && !cut {
		return op.n, nil, nil, nil
	}
	// All of them first, so that whatever is wrong with the message, all get closed.
	if fds, err = sys.ReceivedFDs(op.oob[:op.oobn]); err != nil {
		err = violation("%v", err)
	}
	switch {
	case len(fds) > MaxFiles: // there is room for one more, and no other reason to cut them there
		err = violation("more than %d descriptors with one frame", MaxFiles)
	case cut:
		lost = sys.NoMoreFiles()
	}
	return op.n, fds, lost, err
}

func (op *recvOp) discard(fds []int) { closeFDs(fds) }

func (op *recvOp) try(fd uintptr) bool {
	op.fd = int(fd)
	if op.spin.hot && (op.now() || op.spin.until(op.look)) {
		op.spin.came()
		return true
	}
	if !op.receive(op.flags) {
		return false
	}
	op.spin.came()
	return true
}

// now is try without waiting.
func (op *recvOp) now() bool { return op.receive(op.flags | unix.MSG_DONTWAIT) }

func (op *recvOp) receive(flags int) bool {
	for {
		op.n, op.oobn, op.got, _, op.err = unix.Recvmsg(op.fd, op.p, op.oob, flags)
		if op.err != unix.EINTR {
			return op.err != unix.EAGAIN
		}
	}
}

func closeFDs(fds []int) {
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = sys.NewFile(fd, "received")
	}
	sys.CloseReceived(files)
}

// An UnsentError says that nothing of a frame was sent, and that the connection is as good as
// before.
type UnsentError struct{ Err error }

func (e *UnsentError) Error() string { return "not sent: " + e.Err.Error() }

// Unwrap returns Err.
func (e *UnsentError) Unwrap() error { return e.Err }

// Write sends f, whole, and returns once the kernel has it. The memory and the files of f are the
// caller's again then. A frame that cannot be sent, for its size or a closed file, is an
// [UnsentError]; any other error ends the connection.
func (c *Conn) Write(f *Frame) error {
	h := header{typ: f.Type, files: len(f.Files), length: len(f.Payload) + len(f.Tail), id: f.ID}
	if err := h.check(); err != nil {
		return &UnsentError{err}
	}
	if h.files == 0 {
		return c.write(h, f, nil)
	}
	return withFDs(f.Files, make([]int, 0, h.files), func(fds []int) error {
		return c.write(h, f, unix.UnixRights(fds...))
	})
}

func (c *Conn) write(h header, f *Frame, oob []byte) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.writeErr != nil {
		return c.writeErr
	}
	c.scratch = h.append(c.scratch[:0])
	op := &c.sendOp
	op.bufs = [3][]byte{c.scratch, f.Payload, f.Tail}
	if h.length <= smallFrame {
		c.scratch = append(append(c.scratch, f.Payload...), f.Tail...)
		op.bufs = [3][]byte{c.scratch}
	}
	op.oob, op.sent, op.err = oob, 0, nil
	err := c.raw.Write(op.fn)
	if err == nil {
		err = os.NewSyscallError("sendmsg", op.err)
	}
	err = c.waitErr(err)
	switch {
	case op.sent == 0 && (errors.Is(err, unix.ETOOMANYREFS) || errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM)):
		err = &UnsentError{err} // too many descriptors of this user are on the way (unix(7)), or no memory
	case err != nil && op.sent > 0:
		c.writeErr = fmt.Errorf("wire: an earlier frame was cut short: %w", err)
	}
	op.bufs, op.oob = [3][]byte{}, nil
	return err
}

// try sends as much as the socket takes.
func (op *sendOp) try(fd uintptr) bool {
	for {
		for len(op.bufs[0]) == 0 {
			if len(op.bufs[1])+len(op.bufs[2]) == 0 {
				return true
			}
			op.bufs = [3][]byte{op.bufs[1], op.bufs[2]}
		}
		var n int
		if len(op.bufs[1])+len(op.bufs[2]) == 0 { // allocates nothing
			n, op.err = unix.SendmsgN(int(fd), op.bufs[0], op.oob, nil, op.flags)
		} else {
			n, op.err = unix.SendmsgBuffers(int(fd), op.bufs[:], op.oob, nil, op.flags)
		}
		switch op.err {
		case nil:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		default:
			return true
		}
		op.sent += n
		op.oob = nil // it went with the first byte
		for i := range op.bufs {
			k := min(n, len(op.bufs[i]))
			op.bufs[i], n = op.bufs[i][k:], n-k
		}
	}
}

// withFDs calls fn with the descriptors of files, and keeps all of them open meanwhile. File.Fd
// would not, and makes a file block.
func withFDs(files []*os.File, fds []int, fn func([]int) error) error {
	if len(files) == 0 {
		return fn(fds)
	}
	raw, err := files[0].SyscallConn()
	if err != nil {
		return &UnsentError{err}
	}
	var fnErr error
	err = raw.Control(func(fd uintptr) {
		fnErr = withFDs(files[1:], append(fds, int(fd)), fn)
	})
	if err != nil { // raw has no public name for this one
		return &UnsentError{&os.PathError{Op: "send", Path: files[0].Name(), Err: os.ErrClosed}}
	}
	return fnErr
}
