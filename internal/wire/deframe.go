package wire

import (
	"errors"
	"io"
	"os"
)

// readAhead is the size of a deframer's buffer: enough for many small frames in one system call,
// small enough for an idle worker.
const readAhead = 16 << 10

// A source is where a deframer has its bytes from: recvmsg.
type source interface {
	// recv reads into p, which is not empty, and gives the descriptors that came along, even with
	// an error. 0 bytes without an error is the end.
	recv(p []byte) (n int, fds []int, err error)

	// discard closes descriptors that nobody will take.
	discard(fds []int)
}

// A deframer cuts the bytes of a source into frames. Its user serialises the calls.
type deframer struct {
	src   source
	buf   []byte // made by the first read
	r, w  int    // buf[r:w] has been received and not been consumed
	total int64  // bytes received
	sets  []fdSet
	err   error // sticky
}

// An fdSet is what one recv brought. The kernel ends a recv behind the message that carries
// descriptors, and gives them with its first byte: a set belongs to a frame that starts at an
// offset in [from, to).
type fdSet struct {
	fds      []int
	from, to int64
}

// next gives the next frame's header, payload and descriptors. io.EOF means that the peer ended
// between two frames.
func (d *deframer) next() (h header, payload []byte, fds []int, err error) {
	if d.err != nil {
		return header{}, nil, nil, d.err
	}
	h, payload, fds, err = d.frame()
	if err != nil && (d.err != nil || !isTimeout(err)) {
		d.drop(err)
	}
	return h, payload, fds, err
}

func (d *deframer) frame() (h header, payload []byte, fds []int, err error) {
	for d.w-d.r < headerSize {
		if err := d.fill(); err != nil {
			if err == io.EOF && d.w > d.r {
				err = io.ErrUnexpectedEOF
			}
			return header{}, nil, nil, err
		}
	}
	start := d.total - int64(d.w-d.r)
	h, err = parseHeader(d.buf[d.r : d.r+headerSize])
	if err != nil {
		return header{}, nil, nil, err
	}
	d.r += headerSize
	if fds, err = d.take(start, h.files); err == nil {
		payload, err = d.payload(h.length)
	}
	if err == nil && len(d.sets) > 0 && d.sets[0].to <= d.total-int64(d.w-d.r) {
		err = violation("descriptors that no frame announced")
	}
	if err != nil {
		d.src.discard(fds)
		if isTimeout(err) { // the rest of the frame can no longer be told from its beginning
			d.err = err
		}
		return header{}, nil, nil, err
	}
	return h, payload, fds, nil
}

// take gives the n descriptors of the frame that starts at offset start.
func (d *deframer) take(start int64, n int) ([]int, error) {
	if n == 0 {
		return nil, nil
	}
	if len(d.sets) == 0 || start < d.sets[0].from || start >= d.sets[0].to || len(d.sets[0].fds) != n {
		return nil, violation("%d descriptors announced that did not come", n)
	}
	fds := d.sets[0].fds
	if d.sets = d.sets[1:]; len(d.sets) == 0 {
		d.sets = nil
	}
	return fds, nil
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
	n, err := d.recv(d.buf[d.w:])
	d.w += n
	return err
}

// payload reads n bytes: what has been buffered, then straight into the result. The result grows as
// bytes arrive.
func (d *deframer) payload(n int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	p := make([]byte, min(n, max(trustedLen, d.w-d.r)))
	have := copy(p, d.buf[d.r:d.w])
	d.r += have
	for have < n {
		if have == len(p) {
			grown := make([]byte, min(n, growth*len(p)))
			copy(grown, p)
			p = grown
		}
		got, err := d.recv(p[have:])
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

// recv is src.recv with io.EOF for the end, and descriptors queued.
func (d *deframer) recv(p []byte) (int, error) {
	n, fds, err := d.src.recv(p)
	if len(fds) > 0 {
		// Even with an error: they are open, and drop has to find them.
		d.sets = append(d.sets, fdSet{fds, d.total, d.total + int64(n)})
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
	for _, set := range d.sets {
		d.src.discard(set.fds)
	}
	d.sets = nil
	if d.err == nil {
		d.err = err
	}
}
