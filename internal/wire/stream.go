package wire

import (
	"errors"
	"io"
	"os"
)

// readAhead is the size of a stream's buffer: enough for many small frames in one system call, small enough for an idle
// worker.
const readAhead = 16 << 10

// A source is where a stream's bytes come from: recvmsg.
type source interface {
	// recv reads into p, which is not empty, and gives the descriptors that came along, even with an error. 0 bytes
	// without an error is the end.
	recv(p []byte) (n int, fds []int, err error)

	// discard closes descriptors that nobody will take.
	discard(fds []int)
}

// A stream cuts the bytes of a source into frames. Its user serialises the calls.
type stream struct {
	src   source
	buf   []byte // made by the first read
	r, w  int    // buf[r:w] has been received and not been consumed
	total int64  // bytes received
	sets  []fdSet
	err   error // sticky
}

// An fdSet is what one recv brought. The kernel ends a recv behind the message that carries descriptors, and gives them
// with its first byte: a set belongs to a frame that starts in [from, to) of the stream.
type fdSet struct {
	fds      []int
	from, to int64
}

// next gives the next frame's header, payload and descriptors. io.EOF means that the peer ended between two frames.
func (s *stream) next() (h header, payload []byte, fds []int, err error) {
	if s.err != nil {
		return header{}, nil, nil, s.err
	}
	h, payload, fds, err = s.frame()
	if err != nil && (s.err != nil || !isTimeout(err)) {
		s.drop(err)
	}
	return h, payload, fds, err
}

func (s *stream) frame() (h header, payload []byte, fds []int, err error) {
	for s.w-s.r < headerSize {
		if err := s.fill(); err != nil {
			if err == io.EOF && s.w > s.r {
				err = io.ErrUnexpectedEOF
			}
			return header{}, nil, nil, err
		}
	}
	start := s.total - int64(s.w-s.r)
	h, err = parseHeader(s.buf[s.r : s.r+headerSize])
	if err != nil {
		return header{}, nil, nil, err
	}
	s.r += headerSize
	if fds, err = s.take(start, h.files); err == nil {
		payload, err = s.payload(h.length)
	}
	if err == nil && len(s.sets) > 0 && s.sets[0].to <= s.total-int64(s.w-s.r) {
		err = violation("descriptors that no frame announced")
	}
	if err != nil {
		s.src.discard(fds)
		if isTimeout(err) { // the rest of the frame can no longer be told from its beginning
			s.err = err
		}
		return header{}, nil, nil, err
	}
	return h, payload, fds, nil
}

// take gives the n descriptors of the frame that starts at offset start.
func (s *stream) take(start int64, n int) ([]int, error) {
	if n == 0 {
		return nil, nil
	}
	if len(s.sets) == 0 || start < s.sets[0].from || start >= s.sets[0].to || len(s.sets[0].fds) != n {
		return nil, violation("%d descriptors announced that did not come", n)
	}
	fds := s.sets[0].fds
	if s.sets = s.sets[1:]; len(s.sets) == 0 {
		s.sets = nil
	}
	return fds, nil
}

// fill appends to the buffer.
func (s *stream) fill() error {
	if s.buf == nil {
		s.buf = make([]byte, readAhead)
	}
	if s.r == s.w {
		s.r, s.w = 0, 0
	} else if len(s.buf)-s.r < headerSize {
		s.w = copy(s.buf, s.buf[s.r:s.w])
		s.r = 0
	}
	n, err := s.recv(s.buf[s.w:])
	s.w += n
	return err
}

// payload reads n bytes: what has been buffered, then straight into the result. The result grows as bytes arrive.
func (s *stream) payload(n int) ([]byte, error) {
	if n == 0 {
		return nil, nil
	}
	p := make([]byte, min(n, max(trustedLen, s.w-s.r)))
	have := copy(p, s.buf[s.r:s.w])
	s.r += have
	for have < n {
		if have == len(p) {
			grown := make([]byte, min(n, growth*len(p)))
			copy(grown, p)
			p = grown
		}
		got, err := s.recv(p[have:])
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
func (s *stream) recv(p []byte) (int, error) {
	n, fds, err := s.src.recv(p)
	if len(fds) > 0 {
		// Even with an error: they are open, and drop has to find them.
		s.sets = append(s.sets, fdSet{fds, s.total, s.total + int64(n)})
	}
	s.total += int64(n)
	if err == nil && n == 0 {
		err = io.EOF
	}
	return n, err
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// drop closes the descriptors that nobody has taken, and ends the stream.
func (s *stream) drop(err error) {
	for _, set := range s.sets {
		s.src.discard(set.fds)
	}
	s.sets = nil
	if s.err == nil {
		s.err = err
	}
}
