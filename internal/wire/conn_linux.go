package wire

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// smallFrame is the size up to which Write copies a frame together: copying costs less than
// gathering.
const smallFrame = 4 << 10

// A pipe holds 64 KiB. For a larger frame the Conn asks for more: this halves the context switches.
// The kernel may refuse, because this user has many large pipes already (pipe(7)). Then the pipe
// stays as it is.
const (
	usualPipe = 64 << 10
	largePipe = 256 << 10
)

// scmMaxFD is how many descriptors a message can carry (include/net/scm.h).
const scmMaxFD = 253

// A Conn carries frames between parent and worker. All methods may be called at the same time.
type Conn struct {
	socket, in, out end
	own             int // the parent's reading end of the pipe that it writes to; or -1
	blocks          bool
	closed          atomic.Bool
	over            atomic.Bool // Shutdown was called

	readMu sync.Mutex
	frames deframer
	readOp readOp

	writeMu  sync.Mutex
	writeOp  writeOp
	scratch  []byte
	writeErr error // sticky: part of a frame went out
	enlarged bool  // or an attempt was made

	gathered gathered
	waits    atomic.Bool // Read blocks its thread, or is about to
}

// readOp and writeOp are the arguments and results of the functions given to raw. They and the
// functions live as long as the Conn, so a frame costs no closure.
type readOp struct {
	conn *Conn
	fn   func(fd uintptr) (done bool)
	fd   int
	p    []byte
	n    int
	err  error
	spin spinner
	look func() bool
}

type writeOp struct {
	end  *end
	fn   func(fd uintptr) (done bool)
	bufs [3][]byte
	sent int
	err  error
}

// newConn owns the descriptors if it succeeds. If blocks is set, all of them must block.
func newConn(socket, in, out int, blocks bool) (*Conn, error) {
	registerOnce.Do(registerProtocol)
	c := &Conn{own: -1, blocks: blocks}
	for _, e := range []struct {
		end *end
		fd  int
	}{{&c.socket, socket}, {&c.in, in}, {&c.out, out}} {
		var err error
		if *e.end, err = newEnd(e.fd); err != nil {
			return nil, err
		}
	}
	c.frames.src = &c.readOp
	c.readOp.conn = c
	c.readOp.fn, c.readOp.look = c.readOp.try, c.readOp.now
	if blocks {
		c.readOp.look = c.readOp.queued
	}
	c.writeOp.end, c.writeOp.fn = &c.out, c.writeOp.try
	return c, nil
}

// Close ends the connection and wakes Read and Write, which return an error matching os.ErrClosed.
// Descriptors that have arrived and were not taken are closed. Further calls do nothing.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	err := errors.Join(c.out.file.Close(), c.in.file.Close(), c.socket.closeSocket())
	if c.own >= 0 {
		unix.Close(c.own)
	}
	if c.blocks { // the poller cannot wake a thread that waits in the kernel
		return err
	}
	c.readMu.Lock() // does not take long: Read has been woken
	defer c.readMu.Unlock()
	c.frames.drop(os.ErrClosed)
	return err
}

// Shutdown ends the connection in both directions, even if other processes have the other ends.
// Read returns the frames that have arrived and then io.EOF. Write fails. The Conn must not be a
// blocking one, and must still be closed.
func (c *Conn) Shutdown() {
	c.over.Store(true)
	c.wake()
}

// wake wakes all goroutines that wait.
func (c *Conn) wake() {
	past := time.Unix(1, 0)
	_ = c.in.file.SetReadDeadline(past)
	_ = c.out.file.SetWriteDeadline(past)
	_ = c.socket.file.SetWriteDeadline(past)
}

// SetReadDeadline bounds Read, unless the Conn is a blocking one (os.ErrNoDeadline); the zero time
// takes the bound away. A Read that ran out of time (os.ErrDeadlineExceeded) may be repeated unless
// it had begun on a payload.
func (c *Conn) SetReadDeadline(t time.Time) error {
	err := c.in.file.SetReadDeadline(t)
	if c.over.Load() {
		c.wake()
	}
	return err
}

// waitErr gives an error of raw's methods its public name: those methods do not.
func (c *Conn) waitErr(err error) error {
	switch {
	case err == nil:
		return nil
	case c.closed.Load():
		return os.ErrClosed
	case c.over.Load() && isTimeout(err):
		return os.NewSyscallError("write", unix.EPIPE)
	}
	return err
}

// Read gives the next frame. It returns io.EOF when the peer ended between two frames,
// io.ErrUnexpectedEOF when it ended within one, and an error matching ErrProtocol when it sent
// something else. All errors are final, except that the time ran out.
func (c *Conn) Read() (Frame, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	got, err := c.frames.next()
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

// Buffered reports whether the beginning of the next frame has come. Only the goroutine that reads
// may ask.
func (c *Conn) Buffered() bool { return c.frames.w-c.frames.r >= headerSize }

// SetGate makes every frame pass g. It is called before the first Read.
func (c *Conn) SetGate(g Gate) { c.frames.gate = g }

// read is source's; readMu is held.
func (op *readOp) read(p []byte) (n int, err error) {
	c := op.conn
	op.p, op.n, op.err = p, 0, nil
	defer func() { op.p = nil }()
	if c.blocks {
		c.waits.Store(true) // first: what is gathered from here on is written by its sender
		defer c.waits.Store(false)
		if err := c.Flush(); err != nil {
			return 0, err
		}
	}
	if !c.over.Load() {
		err = c.in.raw.Read(op.fn)
	}
	if c.over.Load() && (err == nil && op.n == 0 || isTimeout(err)) { // still give what has arrived
		op.err = nil
		err = c.in.raw.Control(func(fd uintptr) {
			if op.fd = int(fd); !op.now() {
				op.n, op.err = 0, nil
			}
		})
	}
	if err == nil {
		err = os.NewSyscallError("read", op.err)
	}
	if err == nil && op.n == 0 && c.closed.Load() {
		err = os.ErrClosed
	}
	if err != nil {
		return 0, c.waitErr(err)
	}
	return op.n, nil
}

// receive is source's.
func (op *readOp) receive(n int) (fds []int, lost, err error) {
	if ctlErr := op.conn.socket.raw.Control(func(fd uintptr) { fds, lost, err = receiveFDs(int(fd), n) }); ctlErr != nil {
		return nil, nil, op.conn.waitErr(ctlErr)
	}
	return fds, lost, err
}

func (op *readOp) discard(fds []int) { sys.CloseFDs(fds) }

func (op *readOp) try(fd uintptr) bool {
	op.fd = int(fd)
	if op.spin.hot && (op.look() || op.spin.until(op.look)) && !op.conn.blocks {
		op.spin.came()
		return true
	}
	if !op.now() {
		return false
	}
	op.spin.came()
	return true
}

// now reads the bytes that are there. An end that blocks waits for bytes.
func (op *readOp) now() bool {
	for {
		op.n, op.err = unix.Read(op.fd, op.p)
		if op.err != unix.EINTR {
			break
		}
	}
	op.n = max(op.n, 0)
	return op.err != unix.EAGAIN
}

// queued reports whether there are bytes to read.
func (op *readOp) queued() bool {
	n, err := unix.IoctlGetInt(op.fd, unix.TIOCINQ)
	return n > 0 || err != nil
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
	h, err := f.header()
	if err != nil {
		return err
	}
	if h.files == 0 {
		return c.write(h, f, nil)
	}
	return withFDs(f.Files, make([]int, 0, h.files), func(fds []int) error { return c.write(h, f, fds) })
}

// header is the header of a frame to be written.
func (f *Frame) header() (header, error) {
	h := header{typ: f.Type, files: len(f.Files), length: len(f.Payload) + len(f.Tail), id: f.ID}
	if err := h.check(); err != nil {
		return h, &UnsentError{err}
	}
	return h, nil
}

func (c *Conn) write(h header, f *Frame, fds []int) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.writeErr != nil {
		return c.writeErr
	}
	if len(fds) > 0 {
		switch err := c.socket.sendFDs(fds); {
		case errors.Is(err, unix.ETOOMANYREFS), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			return &UnsentError{err} // too many descriptors of this user are on the way (unix(7)), or no memory
		case err != nil:
			return c.waitErr(err)
		}
	}
	if h.length > usualPipe && !c.enlarged {
		c.enlarged = true
		_ = c.out.raw.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, largePipe) })
	}
	b := c.gathered.take(c.scratch[:0])
	begun := len(b)+len(fds) > 0
	b = h.append(b)
	if h.length <= smallFrame {
		return c.send(append(append(b, f.Payload...), f.Tail...), nil, nil, begun)
	}
	return c.send(b, f.Payload, f.Tail, begun)
}

// send writes the bytes; writeMu is held. The memory of first is kept for the next frames. If begun
// is set, an error ends the connection, even if nothing was written.
func (c *Conn) send(first, second, third []byte, begun bool) error {
	op := &c.writeOp
	op.bufs = [3][]byte{first, second, third}
	op.sent, op.err = 0, nil
	err := c.out.raw.Write(op.fn)
	if err == nil {
		err = os.NewSyscallError("write", op.err)
	}
	err = c.waitErr(err)
	if err != nil && (op.sent > 0 || begun) {
		c.writeErr = fmt.Errorf("wire: an earlier frame was cut short: %w", err)
	}
	op.bufs = [3][]byte{}
	if c.scratch = first; cap(first) > keptScratch {
		c.scratch = nil
	}
	return err
}

// try writes as much as the pipe takes.
func (op *writeOp) try(fd uintptr) bool {
	if op.err = op.end.check(int(fd)); op.err != nil {
		return true
	}
	for {
		for len(op.bufs[0]) == 0 {
			if len(op.bufs[1])+len(op.bufs[2]) == 0 {
				return true
			}
			op.bufs = [3][]byte{op.bufs[1], op.bufs[2]}
		}
		var n int
		if len(op.bufs[1])+len(op.bufs[2]) == 0 { // allocates nothing
			n, op.err = unix.Write(int(fd), op.bufs[0])
		} else {
			n, op.err = unix.Writev(int(fd), op.bufs[:])
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
		for i := range op.bufs {
			k := min(n, len(op.bufs[i]))
			op.bufs[i], n = op.bufs[i][k:], n-k
		}
	}
}

// withFDs calls fn with the descriptors of files, and keeps all of them open meanwhile. File.Fd
// does not keep a file open, and makes it block.
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
	if err != nil { // raw does not give this error its public name
		return &UnsentError{&os.PathError{Op: "send", Path: files[0].Name(), Err: os.ErrClosed}}
	}
	return fnErr
}
