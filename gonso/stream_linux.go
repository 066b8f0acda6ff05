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

// streams are the readers and writers of one call's argument. Each has a pipe, and the other end of
// the pipe is sent with the argument.
type streams struct {
	list  []*stream
	grace time.Duration
	over  atomic.Pointer[time.Time] // when ctx was done, or nil
	stop  func() bool
	chans callerChannels

	mu       sync.Mutex
	timer    *time.Timer // of cutOff, once ctx is done
	returned bool        // the function has returned: it is too late for cutOff
}

// stream is one reader or writer, with a goroutine that copies.
type stream struct {
	path   string // of the field
	src    io.Reader
	dst    io.Writer
	ours   *os.File
	theirs *os.File // the other end, until it was sent
	done   chan struct{}
	err    error // valid once done is closed

	mu       sync.Mutex
	grace    time.Duration
	returned bool // the function has returned
	last     bool // no read may begin after the deadline that is set
	cut      bool // see streams.cutOff
}

const (
	copySize = 64 << 10
	// readerPatience is how long a reader or writer that is cut off may take to end. lateDrain is
	// how long the rest of a pipe may take after the grace period.
	lateDrain      = 300 * time.Millisecond
	readerPatience = 100 * time.Millisecond
)

// connectStreams gives the value to send for the one that in points to. It has pipes in place of
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

// items bounds the memory for channel values from the Set's worker, for all of its calls together.
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

// abandon closes the pipes of a call that is not made.
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
		now := time.Now() // has a monotonic reading, because the system's clock may be set
		st.over.Store(&now)
		st.mu.Lock()
		defer st.mu.Unlock()
		if !st.returned {
			st.timer = time.AfterFunc(st.grace/2, st.cutOff)
		}
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

// cutOff closes the pipes, half of the grace period after ctx is done. A function that waits for a
// reader or writer, and not for its context, has the other half to return, as with channels.
// Closing our end reaches everybody who has a copy of the other one.
func (st *streams) cutOff() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.returned {
		return
	}
	for _, s := range st.list {
		s.cutOff()
	}
}

func (s *stream) cutOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
	default:
		s.cut = true
		s.ours.Close()
	}
}

// wasCut reports whether cutOff was in time.
func (s *stream) wasCut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut
}

// finish is called when the call is over and its ends are closed. It waits until the data in the
// pipes is copied, and returns the errors of copying. called is the call's own error.
//
// finish also waits for a Read or Write of the caller's value that has not returned: nothing can
// end it, and the caller may reuse its buffers. With a delay, it waits only so long, and leaves the
// goroutine behind.
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
	st.mu.Lock()
	st.returned = true
	if st.timer != nil {
		st.timer.Stop()
	}
	st.mu.Unlock()
	if over := st.over.Load(); over != nil { // the grace period began then, and goes on for the rest
		st.grace = max(st.grace-time.Since(*over), min(st.grace, lateDrain))
	}
	for _, s := range st.list { // stop all of them first, so that they end at the same time
		s.mu.Lock()
		s.grace = st.grace
		s.mu.Unlock()
		s.stop()
	}
	errs := []error{st.chans.finish(ctx, called)}
	for _, s := range st.list {
		ended, cut := s.await(ctx, limit), s.wasCut()
		if !ended {
			errs = append(errs, s.failed(exec.ErrWaitDelay))
		}
		switch {
		case cut:
			if !errors.Is(called, ctx.Err()) {
				errs = append(errs, s.failed(ctxError(ctx)))
			}
		case ended && s.err != nil:
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

// await waits for the end of copying, and returns false at the limit. Copying to a writer ends at
// the end of the pipe, or if no data comes for the grace period, or a grace period after ctx is
// done.
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

// endReading ends the reading from the function after a time, even if more data comes.
func (s *stream) endReading(after time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = true
	s.ours.SetReadDeadline(time.Now().Add(after))
}

// feed copies from src until src ends, or the function has closed its end.
func (s *stream) feed() {
	defer s.ours.Close() // last, so that the error is known when the pipe ends
	defer close(s.done)
	buf := make([]byte, copySize)
	for {
		if !s.begin() {
			return
		}
		n, err := s.src.Read(buf)
		if n > 0 {
			if _, werr := s.ours.Write(buf[:n]); werr != nil {
				// The function need not read everything.
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
	return !s.returned && !s.cut
}

// drain copies to dst until the last holder of the other end has closed it.
func (s *stream) drain() {
	defer close(s.done)
	defer s.ours.Close() // first, so that a process that writes learns that nobody reads
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
