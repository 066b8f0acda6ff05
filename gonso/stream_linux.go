package gonso

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/sys"
)

// streams are the readers and writers of one call's argument, each with a pipe
// whose other end is in the value that is sent.
type streams struct {
	list  []*stream
	grace time.Duration
	over  atomic.Pointer[time.Time] // when ctx was done, or nil
	stop  func() bool
	chans callerChannels
}

// stream is one of them. A goroutine copies.
type stream struct {
	path   string // of the field
	src    io.Reader
	dst    io.Writer
	ours   *os.File
	theirs *os.File // until it was sent
	done   chan struct{}
	err    error // once done is closed

	mu       sync.Mutex
	grace    time.Duration
	returned bool // the function has
	last     bool // no read may begin after the deadline that is set
}

const (
	copySize = 64 << 10
	// readerPatience is how long a reader or writer that is cut off may take to end. lateDrain is
	// how long the rest of a pipe may take after the grace period.
	lateDrain      = 300 * time.Millisecond
	readerPatience = 100 * time.Millisecond
)

// connectStreams gives what the value that in points to crosses as, with pipes in place of its
// readers, writers and channels. Copying begins with start.
func (c *core) connectStreams(in any) (*streams, any, error) {
	st := &streams{grace: c.grace()}
	st.chans = callerChannels{grace: st.grace, items: c.items()}
	connected, err := codec.Connect(in, codec.Connector{Stream: st.connect, Channel: st.chans.connect})
	if err != nil {
		st.abandon()
		return nil, nil, err
	}
	return st, connected, nil
}

// items bounds what the values of channels from the Set's worker take, of all its calls.
func (c *core) items() *codec.Items {
	c.workerMu.Lock()
	defer c.workerMu.Unlock()
	if c.workerItems == nil {
		c.workerItems = codec.NewItems()
	}
	return c.workerItems
}

// connect makes the pipe of a reader or writer.
func (st *streams) connect(path string, v any, writer bool) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	widen([]*os.File{w})
	s := &stream{path: path, done: make(chan struct{}), grace: st.grace}
	if writer {
		s.dst, s.ours, s.theirs = v.(io.Writer), r, w
	} else {
		s.src, s.ours, s.theirs = v.(io.Reader), w, r
	}
	st.list = append(st.list, s)
	return s.theirs, nil
}

// abandon is for a call that is not made.
func (st *streams) abandon() {
	if st == nil {
		return
	}
	for _, s := range st.list {
		s.ours.Close()
		s.theirs.Close()
	}
	st.chans.abandon()
}

// start is called when the call has duplicates of its ends.
func (st *streams) start(ctx context.Context) {
	if st == nil {
		return
	}
	st.stop = context.AfterFunc(ctx, func() {
		now := time.Now() // with its monotonic reading: clocks step
		st.over.Store(&now)
	})
	st.chans.start(ctx)
	for _, s := range st.list {
		s.theirs.Close()
		if s.src != nil {
			go s.feed()
		} else {
			go s.drain()
		}
	}
}

// finish is called when the call is over and its ends are closed. It waits for
// what is still in the pipes, and gives the errors of copying; called is the call's own.
// A Read or Write of the caller's that is under way is waited for, too, as nothing can end it and the
// caller may go on to use what it reads into or from. With a delay, what has not ended then is left behind.
func (st *streams) finish(ctx context.Context, called error, delay time.Duration) error {
	if st == nil {
		return nil
	}
	limit := context.Background()
	if delay > 0 {
		var cancel context.CancelFunc
		limit, cancel = context.WithTimeout(limit, delay)
		defer cancel()
	}
	st.stop()
	if over := st.over.Load(); over != nil { // grace began then, for the function and for what it leaves
		st.grace = max(st.grace-time.Since(*over), min(st.grace, lateDrain))
	}
	for _, s := range st.list { // all of them first: they end at the same time
		s.mu.Lock()
		s.grace = st.grace
		s.mu.Unlock()
		s.stop()
	}
	errs := []error{st.chans.finish(ctx, called)}
	for _, s := range st.list {
		switch {
		case !s.await(ctx, limit):
			errs = append(errs, s.failed(exec.ErrWaitDelay))
		case s.err != nil:
			errs = append(errs, s.failed(s.err))
		}
	}
	return errors.Join(errs...)
}

func (s *stream) failed(err error) error {
	op := "drain writer"
	if s.src != nil {
		op = "feed reader"
	}
	e := newError(op, 0, s.path, err)
	switch {
	case err == exec.ErrWaitDelay && s.src != nil:
		e.Hint = "a Read has not returned, and is left behind"
	case err == exec.ErrWaitDelay:
		e.Hint = "a Write has not returned, or something that the function started holds the pipe open; it is left behind"
	case s.dst != nil && errors.Is(err, os.ErrDeadlineExceeded):
		e.Hint = "the function has returned, but something that it started holds the pipe open and says nothing"
	}
	return e
}

// stop says that the function has returned.
func (s *stream) stop() {
	s.mu.Lock()
	s.returned = true
	if s.dst != nil {
		s.ours.SetReadDeadline(time.Now().Add(s.grace))
	}
	s.mu.Unlock()
	if s.src != nil {
		s.ours.Close() // wakes a write that nobody will read
	}
}

// await waits for the end of copying. Of a writer that is the end of the pipe, or grace from when it last
// said something, or grace after ctx is done. It returns false at the limit.
func (s *stream) await(ctx, limit context.Context) bool {
	over := ctx.Done()
	if s.src != nil {
		over = nil
	}
	select {
	case <-s.done:
		return true
	case <-over:
		s.endReading(s.grace)
	case <-limit.Done():
	}
	select {
	case <-s.done:
		return true
	case <-limit.Done():
	}
	if s.dst != nil {
		s.endReading(0)
	}
	return sys.Done(s.done, readerPatience)
}

// endReading ends the reading of what the function has written, however much there is.
func (s *stream) endReading(after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = true
	s.ours.SetReadDeadline(time.Now().Add(after))
}

// feed copies from src until that ends, or the function has closed its end.
func (s *stream) feed() {
	defer s.ours.Close() // last: with the end of the pipe, the error is known
	defer close(s.done)
	buf := make([]byte, copySize)
	for {
		if !s.begin() {
			return
		}
		n, err := s.src.Read(buf)
		if n > 0 {
			if _, werr := s.ours.Write(buf[:n]); werr != nil {
				// Not everything has to be read.
				if !errors.Is(werr, unix.EPIPE) && !errors.Is(werr, os.ErrClosed) {
					s.err = werr
				}
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				s.err = err
			}
			return
		}
	}
}

func (s *stream) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.returned
}

// drain copies to dst until the last holder of the other end has closed it.
func (s *stream) drain() {
	defer close(s.done)
	defer s.ours.Close() // first: whoever writes learns that nobody reads
	buf := make([]byte, copySize)
	for {
		s.mu.Lock()
		if s.returned && !s.last {
			s.ours.SetReadDeadline(time.Now().Add(s.grace))
		}
		s.mu.Unlock()
		n, err := s.ours.Read(buf)
		if n > 0 {
			w, werr := s.dst.Write(buf[:n])
			if werr == nil && w != n {
				werr = io.ErrShortWrite
			}
			if werr != nil {
				s.err = werr
				return
			}
		}
		if err != nil {
			if err != io.EOF {
				s.err = err
			}
			return
		}
	}
}
