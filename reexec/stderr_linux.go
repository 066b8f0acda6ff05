package reexec

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// stderrTail passes on the output of a worker, and remembers the parts that the error about the
// worker's end needs. Processes that the worker has started may keep its end of the pipe. So nobody
// waits for the end of the stream once the worker is dead. No other output is kept: a worker that
// prints faster than the writer takes it must wait.
type stderrTail struct {
	r     *os.File
	to    io.Writer
	shown bool          // to is this program's own standard error
	done  chan struct{} // closed when pump is over

	mu   sync.Mutex
	said lastWords
}

func newStderrTail(to io.Writer) (*stderrTail, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	t := &stderrTail{r: r, to: to, done: make(chan struct{})}
	if marked, ok := to.(textOnly); ok {
		t.to, to = &escaping{to: marked.Writer}, marked.Writer
	}
	t.shown = to == io.Writer(os.Stderr)
	go t.pump()
	return t, w, nil
}

// pump copies until nobody has the other end any more, or until stop.
func (t *stderrTail) pump() {
	defer close(t.done)
	defer t.r.Close()
	buf := make([]byte, 4<<10)
	for {
		n, err := t.r.Read(buf)
		t.take(buf[:n])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.drain(buf)
		}
		if err != nil {
			return
		}
	}
}

func (t *stderrTail) take(b []byte) {
	if len(b) == 0 {
		return
	}
	t.mu.Lock()
	t.said.take(b)
	t.mu.Unlock()
	_, _ = t.to.Write(b) // the owner of the writer handles its errors
}

// drain reads only the bytes that the pipe holds now: a process that survives may go on printing.
func (t *stderrTail) drain(buf []byte) {
	rc, err := t.r.SyscallConn()
	if err != nil {
		return
	}
	_ = rc.Control(func(fd uintptr) {
		for range 64 {
			n, err := unix.Read(int(fd), buf)
			if n <= 0 && err != unix.EINTR {
				return
			}
			t.take(buf[:max(n, 0)])
		}
	})
}

// stop ends the copying and returns the words. If the writer does not take its data, stop waits for
// it, but not longer than a bound.
func (t *stderrTail) stop() said {
	_ = t.r.SetReadDeadline(time.Unix(1, 0))
	limit := time.NewTimer(sys.KillTimeout)
	defer limit.Stop()
	select {
	case <-t.done:
	case <-limit.C:
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.said.words()
	w.shown = t.shown
	return w
}
