package wire

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// readAhead is the size of a deframer's buffer: enough for many small frames in one system call,
// small enough for an idle worker.
const readAhead = 4 << 10

// A source is where a deframer has its bytes from: recvmsg.
type source interface {
	// recv reads into p, which is not empty, and gives the descriptors that came along, even with
	// an error; lost is why some of them could not be had. 0 bytes without an error is the end.
	recv(p []byte) (n int, fds []int, lost, err error)

	// discard closes descriptors that nobody will take.
	discard(fds []int)
}

// A deframer cuts the bytes of a source into frames. Its user serialises the calls.
type deframer struct {
	src   source
	buf   []byte // made by the first read
	r, w  int    // buf[r:w] has been received and not been consumed
	total int64  // bytes received
	set   fdSet
	gate  Gate  // or nil
	err   error // sticky
}

// A Gate is asked about every frame, once its header is there and before any more of it is kept. Its
// error ends the reading, unless that is a [Refusal].
type Gate func(typ FrameType, id uint64, length int) error

// A Refusal is the error of a gate that has no room for one frame: that is read without being kept, has
// neither payload nor files, and Err is what it is Lost for.
type Refusal struct{ Err error }

func (e *Refusal) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Refusal) Unwrap() error { return e.Err }

// An fdSet is what one recv brought. The kernel ends a recv behind the message that carries
// descriptors, and gives them with its first byte: a set belongs to a frame that starts at an
// offset in [from, to). At most one set waits for its frame. All others are violations, so that no
// peer can make this process hold more descriptors than one frame may have.
type fdSet struct {
	fds      []int
	lost     error // why there are fewer than were sent
	from, to int64 // equal if there is no set
}

func (s *fdSet) waits() bool { return s.from < s.to }

// A parcel is a frame with all that came along.
type parcel struct {
	header
	payload []byte
	fds     []int
	lost    error // why it lacks descriptors, of which it has none then
}

// next gives the next frame. io.EOF means that the peer ended between two frames.
func (d *deframer) next() (parcel, error) {
	if d.err != nil {
		return parcel{}, d.err
	}
	f, err := d.frame()
	if err != nil {
		if d.err != nil || !isTimeout(err) {
			d.drop(err)
		}
		return parcel{}, err
	}
	return f, nil
}

func (d *deframer) frame() (f parcel, err error) {
	for d.w-d.r < headerSize {
		if err := d.fill(); err != nil {
			if err == io.EOF && d.w > d.r {
				err = io.ErrUnexpectedEOF
			}
			return f, err
		}
	}
	start := d.total - int64(d.w-d.r)
	f.header, err = parseHeader(d.buf[d.r : d.r+headerSize])
	if err == nil && d.gate != nil {
		err = d.gate(f.typ, f.id, f.length)
	}
	var refused *Refusal
	if err != nil && !errors.As(err, &refused) {
		return f, err
	}
	d.r += headerSize
	err = d.take(start, &f)
	switch {
	case err != nil:
	case refused != nil:
		d.src.discard(f.fds)
		f.fds, f.lost = nil, refused.Err
		err = d.skip(f.length)
	default:
		f.payload, err = d.payload(f.length)
	}
	if err != nil {
		d.src.discard(f.fds)
		if isTimeout(err) { // the rest of the frame can no longer be told from its beginning
			d.err = err
		}
	}
	return f, err
}

// take gives the frame that starts at offset start the descriptors that it announces.
func (d *deframer) take(start int64, f *parcel) error {
	set := d.set
	if f.files == 0 {
		if end := start + headerSize + int64(f.length); set.waits() && set.to <= end {
			return errUnannounced() // no other frame starts where they came
		}
		return nil
	}
	if !set.waits() || start < set.from || start >= set.to {
		return violation("%d descriptors announced that did not come", f.files)
	}
	if n := len(set.fds); n > f.files || n < f.files && set.lost == nil {
		return violation("%d descriptors announced where %d came", f.files, n)
	}
	d.set = fdSet{}
	if set.lost == nil {
		f.fds = set.fds
		return nil
	}
	f.lost = fmt.Errorf("%d of its %d descriptors could not be received: %w", f.files-len(set.fds), f.files, set.lost)
	d.src.discard(set.fds)
	return nil
}

func errUnannounced() error { return violation("descriptors that no frame announced") }

// fill appends to the buffer.
func (d *deframer) fill() error {
	if d.buf == nil {
		d.buf = make([]byte, readAhead)
	}
	if d.r == d.w {
		d.r, d.w = 0, 0
	} else if len(d.buf)-d.r < headerSize {
		d.w = copy(d.buf, d.buf[d.r:d.w])
		d.r = 0
	}
	p := d.buf[d.w:]
	if d.set.waits() { // not beyond the header that may announce them
		p = d.buf[d.w : d.r+headerSize]
	}
	n, err := d.recv(p, true)
	d.w += n
	return err
}

// payload reads n bytes: what has been buffered, then straight into the result. It has its full size
// only once the peer has shown that it means it.
func (d *deframer) payload(n int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	p := make([]byte, min(n, max(trustedLen, d.w-d.r)))
	have := copy(p, d.buf[d.r:d.w])
	d.r += have
	for have < n {
		if have == len(p) {
			grown := make([]byte, n)
			copy(grown, p)
			p = grown
		}
		got, err := d.recv(p[have:], false)
		if err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		have += got
	}
	return p, nil
}

// skip passes n bytes, of which it keeps none.
func (d *deframer) skip(n int) error {
	have := min(n, d.w-d.r)
	d.r += have
	for n -= have; n > 0; {
		d.r, d.w = 0, 0 // all that was buffered has been passed
		got, err := d.recv(d.buf[:min(n, len(d.buf))], false)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		n -= got
	}
	return nil
}

// recv is src.recv with io.EOF for the end. Where a frame may start, one set of descriptors may
// come, and is kept.
func (d *deframer) recv(p []byte, mayStart bool) (int, error) {
	n, fds, lost, err := d.src.recv(p)
	if len(fds) > 0 || lost != nil {
		if err == nil && n > 0 && mayStart && !d.set.waits() {
			d.set = fdSet{fds, lost, d.total, d.total + int64(n)}
		} else {
			d.src.discard(fds)
			if err == nil {
				err = errUnannounced()
			}
		}
	}
	d.total += int64(n)
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// drop closes the descriptors that nobody has taken, and ends the reading.
func (d *deframer) drop(err error) {
	d.src.discard(d.set.fds)
	d.set = fdSet{}
	d.buf = nil
	if d.err == nil {
		d.err = err
	}
}
