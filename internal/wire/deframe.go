package wire

import (
	"errors"
	"io"
	"os"
)

// readAhead is the size of a deframer's buffer: enough for many small frames in one system call,
// small enough for an idle worker.
const readAhead = 4 << 10

// A source gives a deframer its bytes and descriptors: it is a pipe, and a socket for descriptors.
type source interface {
	// read reads into p, which is not empty. 0 bytes without an error is the end.
	read(p []byte) (n int, err error)

	// receive returns the n descriptors that a frame announces. Otherwise it returns no descriptors
	// and the reason: lost, if they could not be received, or an error.
	receive(n int) (fds []int, lost, err error)

	// discard closes descriptors that nobody will take.
	discard(fds []int)
}

// A deframer cuts the bytes of a source into frames. Its user serialises the calls.
type deframer struct {
	src  source
	buf  []byte // made by the first read
	r, w int    // buf[r:w] has been received and not been consumed
	gate Gate   // or nil
	err  error  // sticky
}

// A Gate is asked about every frame, once its header is there and before any more of the frame is
// kept. Its error ends the reading, unless the error is a [Refusal].
type Gate func(typ FrameType, id uint64, length int) error

// A Refusal is the error of a gate that has no room for one frame. The frame is read and not kept.
// It has no payload and no files, and its Lost is Err.
type Refusal struct{ Err error }

func (e *Refusal) Error() string { return e.Err.Error() }

// Unwrap returns Err.
func (e *Refusal) Unwrap() error { return e.Err }

// A parcel is a frame with all the bytes and descriptors that came along.
type parcel struct {
	header
	payload []byte
	fds     []int
	lost    error // why it lacks descriptors; it has no descriptors then
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
	f.header, err = parseHeader(d.buf[d.r : d.r+headerSize])
	if err == nil && d.gate != nil {
		err = d.gate(f.typ, f.id, f.length)
	}
	var refused *Refusal
	if err != nil && !errors.As(err, &refused) {
		return f, err
	}
	d.r += headerSize
	err = nil
	if f.files > 0 {
		f.fds, f.lost, err = d.src.receive(f.files)
	}
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
	n, err := d.read(d.buf[d.w:])
	d.w += n
	return err
}

// payload reads n bytes. It takes the buffered bytes first, and reads the others directly into the
// result. The result gets its full size only once the peer has sent enough of it.
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
		got, err := d.read(p[have:])
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

// skip passes n bytes, and keeps no byte of them.
func (d *deframer) skip(n int) error {
	have := min(n, d.w-d.r)
	d.r += have
	for n -= have; n > 0; {
		d.r, d.w = 0, 0 // all that was buffered has been passed
		got, err := d.read(d.buf[:min(n, len(d.buf))])
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

// read is src.read with io.EOF for the end.
func (d *deframer) read(p []byte) (int, error) {
	n, err := d.src.read(p)
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// drop ends the reading.
func (d *deframer) drop(err error) {
	d.buf = nil
	if d.err == nil {
		d.err = err
	}
}
