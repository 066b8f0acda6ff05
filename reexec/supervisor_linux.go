package reexec

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// Worker has a worker process when one is needed. The first call starts it, and it stays for the
// next calls. It ends when it is idle. After the death of a worker the next call starts another. An
// isolated call has its own process.
type Worker struct {
	opts    WorkerOptions
	exe     *executable
	closing chan struct{} // closed by Close

	mu       sync.Mutex
	current  *process              // the process that new calls go to, or nil
	startup  *startup              // of the next current process, or nil
	startups map[*startup]struct{} // all startups under way: startup, and those for isolated calls
	all      map[*process]struct{} // all processes that have not ended
	closed   bool
	backoff  backoff
	perCall  bool        // each call enters the mnt namespace by itself, because the program's loader is missing there
	copied   atomic.Bool // the program's file may not be executed inside: a sealed copy is executed

	now   func() time.Time // tests set their own clock
	after func(time.Duration) <-chan time.Time
}

// startup is an attempt to start a process that takes calls. Several callers may wait for it,
// unless it is for one isolated call.
type startup struct {
	isolated bool
	done     chan struct{} // closed when it is over
	p        *process
	err      error
}

// NewWorker starts no process. The files in opts.Join must stay open until Close.
func NewWorker(opts WorkerOptions) *Worker {
	opts.setDefaults()
	w := &Worker{
		opts: opts, exe: thisProgram, closing: make(chan struct{}),
		all: make(map[*process]struct{}), startups: make(map[*startup]struct{}),
		now: time.Now, after: time.After,
	}
	if opts.Path != "" {
		// Root inside may be this user, who owns the file. With the mounts of this process, root
		// inside can also open the file by its path. So a copy would keep nobody out.
		seal := joinsType(opts.Join, newUser) && joinsType(opts.Join, unix.CLONE_NEWNS)
		w.exe = &executable{path: opts.Path, seal: seal}
	}
	return w
}

// Close cancels the calls that run, ends the worker within the grace period, and waits for its end.
// After that, calls are refused.
func (w *Worker) Close() {
	w.mu.Lock()
	if !w.closed {
		close(w.closing)
	}
	w.closed = true
	var startups []*startup
	for s := range w.startups {
		startups = append(startups, s)
	}
	w.mu.Unlock()
	for _, s := range startups {
		<-s.done // it sees that closing is closed
	}
	w.mu.Lock()
	w.current = nil
	var all []*process
	for p := range w.all {
		all = append(all, p)
	}
	w.mu.Unlock()
	for _, p := range all {
		p.shutdown()
	}
	for _, p := range all {
		<-p.ended
	}
	if w.exe != thisProgram {
		sys.WithinTime(sys.KillTimeout, w.exe.close) // a startup may be opening it
	}
}

// Warm starts the worker, if it does not run, and waits for it. The time for which it may be idle
// begins anew.
func (w *Worker) Warm(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := w.get(ctx)
	if err != nil {
		return err
	}
	p.leave()
	return nil
}

// get returns a running worker, with the call counted on it.
func (w *Worker) get(ctx context.Context) (*process, error) {
	for {
		w.mu.Lock()
		if w.closed {
			w.mu.Unlock()
			return nil, ErrWorkerClosed
		}
		if p := w.current; p != nil && p.enter() {
			w.mu.Unlock()
			return p, nil
		}
		if w.startup == nil {
			w.startup = w.begin(false)
		}
		s := w.startup
		w.mu.Unlock()
		select {
		case <-s.done:
			if s.err != nil {
				return nil, s.err
			}
			if s.p.enter() {
				return s.p, nil
			}
		case <-ctx.Done():
			return nil, w.gaveUp(ctx)
		}
	}
}

// getIsolated returns a new process, and counts its only call on it. Failures of other processes do
// not delay it.
func (w *Worker) getIsolated(ctx context.Context) (*process, error) {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil, ErrWorkerClosed
	}
	s := w.begin(true)
	w.mu.Unlock()
	select {
	case <-s.done:
		return s.p, s.err
	case <-ctx.Done():
		go func() { // nobody needs the process any more
			<-s.done
			if s.p != nil {
				s.p.leave()
			}
		}()
		return nil, ctx.Err()
	}
}

// begin begins a startup. The startup goes on when its caller gives up: another caller may wait for
// it. w.mu is held.
func (w *Worker) begin(isolated bool) *startup {
	s := &startup{isolated: isolated, done: make(chan struct{})}
	w.startups[s] = struct{}{}
	go w.startUp(s)
	return s
}

// startUp does the work of s.
func (w *Worker) startUp(s *startup) {
	var p *process
	var err error
	if !s.isolated {
		err = w.holdBack()
	}
	if err == nil {
		p, err = w.launch()
		if err != nil && w.isClosing() {
			err = ErrWorkerClosed
		}
	}
	w.mu.Lock()
	if err == nil {
		w.all[p] = struct{}{}
		go p.turns.watch()
	}
	switch {
	case err == nil && w.closed:
		s.err = ErrWorkerClosed // Close waits for s, and then ends p
	case err == nil && s.isolated:
		p.isolate()
		s.p = p
	case err == nil:
		s.p, w.current = p, p
	default:
		s.err = err
		if !s.isolated {
			w.backoff.fail(w.now(), err)
		}
	}
	delete(w.startups, s)
	if !s.isolated {
		w.startup = nil
	}
	w.mu.Unlock()
	close(s.done)
}

func (w *Worker) isClosing() bool {
	select {
	case <-w.closing:
		return true
	default:
		return false
	}
}

// startContext is done when a startup takes too long, or when Close ends it.
func (w *Worker) startContext() (context.Context, context.CancelFunc) {
	limited, cancelLimit := context.WithTimeoutCause(context.Background(), w.opts.StartTimeout, os.ErrDeadlineExceeded)
	ctx, cancel := context.WithCancelCause(limited)
	go func() {
		select {
		case <-w.closing:
			cancel(ErrWorkerClosed)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		cancel(nil)
		cancelLimit()
	}
}

// forget removes p, which takes no more calls, from the places where new calls look.
func (w *Worker) forget(p *process, ended bool) {
	w.mu.Lock()
	if w.current == p {
		w.current = nil
	}
	if ended {
		delete(w.all, p)
	}
	w.mu.Unlock()
}

// holdBack waits until a startup is due, or the Worker is closed.
func (w *Worker) holdBack() error {
	w.mu.Lock()
	d := w.backoff.delay(w.now())
	w.mu.Unlock()
	if d == 0 {
		return nil
	}
	select {
	case <-w.after(d):
		return nil
	case <-w.closing:
		return ErrWorkerClosed
	}
}

// gaveUp is the error of a caller whose context was done before there was a worker. It does not
// match ErrWorkerDied: nothing of the call has run.
func (w *Worker) gaveUp(ctx context.Context) error {
	w.mu.Lock()
	last := w.backoff.last
	w.mu.Unlock()
	if last == nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w, before a worker could be started again; the last one: %s", ctx.Err(), Clause(last))
}

// judge decides at the end of a worker whether the worker was useful, and so whether startups are
// delayed. told says that this process made the worker end.
func (w *Worker) judge(p *process, told bool, died *DiedError) {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case p.answered || now.Sub(p.since) >= longLife:
		w.backoff.succeed()
	case !told:
		w.backoff.fail(now, died)
	}
}
