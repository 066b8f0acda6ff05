package reexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/wire"
)

// Worker is a place that always has a worker when one is needed: the first call
// starts it, it is kept for the next ones, it ends when idle, and one that died
// or was given up is replaced by the next call.
type Worker struct {
	opts    WorkerOptions
	exe     *executable
	closing chan struct{} // closed by Close

	mu       sync.Mutex
	current  *process              // the one that new calls go to, or nil
	startup  *startup              // under way, or nil
	isolated map[*startup]struct{} // under way, each for one call
	all      map[*process]struct{} // those that have not ended
	closed   bool
	backoff  backoff
	perCall  bool // the mnt namespace is entered by each call: it lacks the program's loader

	now   func() time.Time // tests have clocks of their own
	after func(time.Duration) <-chan time.Time
}

// startup is a start that several callers may wait for.
type startup struct {
	done chan struct{}
	p    *process
	err  error
}

// NewWorker starts nothing yet. The files in opts.Join must stay open until Close.
func NewWorker(opts WorkerOptions) *Worker {
	opts.setDefaults()
	w := &Worker{
		opts: opts, exe: thisProgram, closing: make(chan struct{}),
		all: make(map[*process]struct{}), isolated: make(map[*startup]struct{}),
		now: time.Now, after: time.After,
	}
	if opts.Path != "" {
		w.exe = &executable{path: opts.Path}
	}
	return w
}

// Close cancels the calls in flight, ends the worker within the grace period
// and waits for that. Calls are refused from then on.
func (w *Worker) Close() {
	w.mu.Lock()
	if !w.closed {
		close(w.closing)
	}
	w.closed = true
	var starts []*startup
	if w.startup != nil {
		starts = append(starts, w.startup)
	}
	for s := range w.isolated {
		starts = append(starts, s)
	}
	w.mu.Unlock()
	for _, s := range starts {
		<-s.done // it sees closed
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
		w.exe.close()
	}
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
		s := w.startup
		if s == nil {
			s = &startup{done: make(chan struct{})}
			w.startup = s
			// Not this caller's alone: another may wait for it when this one gives up.
			go w.start(s)
		}
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

// Warm starts the worker if none runs, and waits for it. The time that it may
// be idle begins anew.
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

func (w *Worker) start(s *startup) {
	var p *process
	err := w.holdBack()
	if err == nil {
		p, err = w.launch()
	}
	w.mu.Lock()
	switch {
	case err == nil && w.closed:
		s.err = ErrWorkerClosed
	case err == nil:
		s.p, w.current = p, p
	default:
		s.err = err
		w.backoff.fail(w.now(), err)
	}
	if err == nil {
		w.all[p] = struct{}{}
		go p.watch()
	}
	w.startup = nil
	w.mu.Unlock()
	close(s.done)
}

// forget drops p, which takes no calls any more, from where new calls look.
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

// process is one running worker. What it sends is read by one of the callers
// that wait for it, for a goroutine that hands them their answers costs as much
// as the rest of a call: the waking of a thread. When there are none, watch reads.
type process struct {
	owner  *Worker
	conn   *wire.Conn
	proc   *launcher.Process
	stderr *stderrTail
	intake *intake

	started time.Time

	turn     chan struct{} // holds a token while nobody reads
	answered bool          // a call, ever; belongs to who has the turn

	mu      sync.Mutex
	calls   map[uint64]*call // in flight
	lastID  uint64
	entered int       // calls counted by enter and not yet left
	left    time.Time // when the last one was
	retired bool
	idle    *time.Timer
	cause   error // why this process ended it, once it did

	hangOnce sync.Once
	hung     chan struct{} // closed by hangUp
	ended    chan struct{} // closed when it was reaped
}

// launch starts a worker and waits for it to come to Init. A dynamically linked
// program that finds no loader in the Set's mnt namespace is started outside of
// that, for its calls to enter it.
func (w *Worker) launch() (*process, error) {
	if handshake.Pending() {
		return nil, errSecondGeneration
	}
	w.mu.Lock()
	perCall := w.perCall
	w.mu.Unlock()
	p, err := w.launchOnce(perCall)
	if err == nil || perCall || !w.lacksLoader(err) {
		return p, err
	}
	if p, err = w.launchOnce(true); err == nil {
		w.mu.Lock()
		w.perCall = true
		w.mu.Unlock()
	}
	return p, err
}

func (w *Worker) launchOnce(perCall bool) (_ *process, err error) {
	exe, done, err := w.exe.open(w.opts.Protect)
	if err != nil {
		return nil, err
	}
	defer done()
	conn, sock, err := wire.Pair()
	if err != nil {
		return nil, err
	}
	defer sock.Close()
	tail, stderrW, err := newStderrTail(w.opts.Stderr)
	if err != nil {
		conn.Close()
		return nil, err
	}
	defer stderrW.Close()

	env := w.opts.Env
	if env == nil {
		env = Environment(w.opts.Protect)
	}
	joins, args, extra := w.opts.Join, []string{handshake.Name}, []*os.File(nil)
	if perCall {
		joins, extra = withoutMount(joins)
		args = append(args, handshake.MountArg, w.opts.Dir)
	}
	how := workerLaunch{joins: joins, mount: perCall, exe: w.exe.path}
	proc, l, err := w.startIn(how, &launcher.Cmd{
		Args:   args,
		Env:    env,
		Stdout: stderrW,
		Stderr: stderrW,
		Files:  append(append([]*os.File{sock, exe}, files(joins)...), extra...),
		Sys:    workerSysProcAttr(),
	})
	if err != nil {
		conn.Close()
		said := tail.stop()
		if errors.Is(err, unix.EPIPE) { // the launcher was killed before it had its list
			err = &DiedError{Stderr: said, Cause: err}
		}
		return nil, err
	}
	// From here on only the child has them, and their end means its end.
	sock.Close()
	stderrW.Close()
	p := &process{
		owner: w, conn: conn, proc: proc, stderr: tail, calls: make(map[uint64]*call),
		turn: make(chan struct{}, 1), hung: make(chan struct{}), ended: make(chan struct{}), intake: newIntake(),
	}
	conn.SetGate(p.admit)
	p.turn <- struct{}{}
	alive, err := p.comeUp(l, w.opts.StartTimeout)
	if err == nil {
		proc.Close() // the status pipe ended with exec
		p.mu.Lock()
		p.started = w.now()
		p.left = time.Now()
		p.idle = time.AfterFunc(w.opts.Idle, p.idleEnd)
		p.mu.Unlock()
		return p, nil
	}
	// A step that was refused says more than the end of the socket it led to.
	timedOut := errors.Is(err, os.ErrDeadlineExceeded)
	stepErr := l.explain(err)
	if stepErr == nil {
		stepErr = l.failure(proc)
	}
	if timedOut || !errors.Is(err, io.EOF) && stepErr == nil {
		proc.Kill()
	}
	died := p.reap(nil)
	conn.Close()
	proc.Close()
	if stepErr != nil {
		return nil, stepErr
	}
	err = startError(alive, timedOut, w.opts.StartTimeout, err, died)
	if !w.exe.self {
		died.Cause = helperError(w.exe.path, alive, died.Cause)
	}
	return nil, err
}

// startError tells apart, as far as can be known, why nobody answered. Package
// init of the worker says that it is alive before main runs; only a worker that
// did so can have forgotten Init.
func startError(alive, timedOut bool, limit time.Duration, err error, died *DiedError) error {
	switch {
	case alive && timedOut:
		died.Cause = Phrase(ErrNotInitialized, "it did not come to Init within %v, so probably %s", limit, Clause(ErrNotInitialized))
	case alive && errors.Is(err, io.EOF):
		died.Cause = Phrase(ErrNotInitialized, "%s: its main ended without", Clause(ErrNotInitialized))
	case timedOut:
		died.Cause = fmt.Errorf("it did not start within %v: its runtime reads files below /proc and /sys, which may block inside", limit)
	case errors.Is(err, io.EOF):
		died.Cause = errSilent
	default:
		died.Cause = err
	}
	return died
}

// comeUp follows the launch to where the worker is, and waits for Alive and Ready.
func (p *process) comeUp(l *launch, limit time.Duration) (alive bool, err error) {
	deadline := time.Now().Add(limit)
	if l.forks {
		ctx, cancel := context.WithDeadlineCause(context.Background(), deadline, os.ErrDeadlineExceeded)
		defer cancel()
		if err := p.proc.Follow(ctx); err != nil {
			return false, err
		}
	}
	if err := p.conn.SetReadDeadline(deadline); err != nil {
		return false, err
	}
	for _, want := range []wire.FrameType{wire.Alive, wire.Ready} {
		f, err := p.conn.Read()
		if err != nil {
			return want == wire.Ready, err
		}
		f.Close()
		if f.Type != want {
			return false, fmt.Errorf("%w: a %v frame where %v was due", wire.ErrProtocol, f.Type, want)
		}
		if _, err := wire.ParseHello(f.Payload); err != nil {
			return false, err
		}
	}
	return true, p.conn.SetReadDeadline(time.Time{})
}

// readOne takes one frame of the worker, and sees to the worker's end if there
// are no more, which it reports. Its caller has the turn.
func (p *process) readOne() (ended bool) {
	f, err := p.conn.Read()
	if err == nil {
		err = p.receive(f)
	}
	if err != nil {
		p.end(err)
	}
	return err != nil
}

// await reads until c is done, or waits while somebody else reads.
func (p *process) await(c *call) {
	select {
	case <-c.done:
		return
	case <-p.turn:
	}
	for !c.isDone() {
		if p.readOne() {
			return // c is done too, and nobody takes turns any more
		}
	}
	p.turn <- struct{}{}
}

// quiet is for how long there are no calls before watch reads again.
const quiet = 20 * time.Millisecond

// watch reads while nobody calls, so that the worker's end is seen, and that it
// says nothing unasked. It ends with the worker.
func (p *process) watch() {
	for {
		p.waitQuiet()
		select {
		case <-p.turn:
		case <-p.ended:
			return
		}
		if p.readOne() {
			return
		}
		p.turn <- struct{}{} // there are calls again
	}
}

// waitQuiet returns when there were no new calls for a while, or after hangUp.
func (p *process) waitQuiet() {
	tick := time.NewTicker(quiet)
	defer tick.Stop()
	for last, now := ^uint64(0), p.last(); last != now; last, now = now, p.last() {
		select {
		case <-tick.C:
		case <-p.hung:
			return
		}
	}
}

// last is the number of calls so far.
func (p *process) last() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lastID
}

// end sees to the worker's end after reading has failed.
func (p *process) end(err error) {
	told := p.retire()
	var cause error
	if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
		// It does not keep to the protocol, and is not asked again.
		cause = err
		p.kill(err)
	}
	p.hangUp()
	died := p.reap(cause)
	p.mu.Lock()
	p.idle.Stop()
	calls := p.calls
	p.calls = nil
	p.mu.Unlock()
	p.owner.judge(p, told, died)
	for _, c := range calls {
		c.finish(nil, died.forCall(c))
	}
	p.owner.forget(p, true)
	close(p.ended)
}

// exitTimeout is how long a worker without a socket may take to end by itself.
const exitTimeout = 2 * time.Second

// reap waits for the worker's end, which is due, and for what it printed.
func (p *process) reap(cause error) *DiedError {
	kill := time.AfterFunc(exitTimeout, func() { p.proc.Kill() })
	state, err := p.proc.Wait()
	kill.Stop()
	died := &DiedError{Stderr: p.stderr.stop(), Cause: cause}
	p.mu.Lock()
	if p.cause != nil {
		died.Cause = p.cause
	}
	p.mu.Unlock()
	if err == nil {
		died.Status = state.String()
	}
	return died
}

// kill ends the worker for a reason that its callers are told.
func (p *process) kill(cause error) {
	p.mu.Lock()
	if p.cause == nil {
		p.cause = cause
	}
	p.mu.Unlock()
	p.intake.end()
	p.proc.Kill()
}

// retire makes new calls go to a new worker, and reports whether they did already.
func (p *process) retire() (already bool) {
	p.mu.Lock()
	already, p.retired = p.retired, true
	p.mu.Unlock()
	p.owner.forget(p, false)
	return already
}

// enter counts a call, unless the worker takes none any more.
func (p *process) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.retired {
		return false
	}
	p.entered++
	return true
}

// leave uncounts a call. A worker that is given up ends with its last one.
func (p *process) leave() {
	p.mu.Lock()
	p.entered--
	end := p.entered == 0 && p.retired
	if p.entered == 0 {
		p.left = time.Now()
	}
	p.mu.Unlock()
	if end {
		p.hangUp()
	}
}

// idleEnd ends the worker if it is time, and else comes again. Setting the timer
// anew for each call would wake a thread for each.
func (p *process) idleEnd() {
	p.mu.Lock()
	if p.retired {
		p.mu.Unlock()
		return
	}
	rest := p.owner.opts.Idle
	if p.entered == 0 {
		rest -= time.Since(p.left)
	}
	p.retired = rest <= 0
	if !p.retired {
		p.idle.Reset(rest)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	p.owner.forget(p, false)
	p.hangUp()
}

// hangUp ends the conversation, and with it the worker.
func (p *process) hangUp() {
	p.intake.end()
	p.conn.Close()
	p.hangOnce.Do(func() { close(p.hung) })
}

// shutdown ends the worker: at once if nothing runs in it, else when its calls,
// whose contexts are cancelled, have returned, or after the grace period.
func (p *process) shutdown() {
	p.retire()
	p.mu.Lock()
	busy := p.entered > 0
	var calls []*call
	for _, c := range p.calls {
		calls = append(calls, c)
	}
	p.mu.Unlock()
	if !busy {
		p.hangUp()
		return
	}
	t := time.AfterFunc(p.owner.opts.Grace, func() { p.kill(ErrWorkerClosed) })
	go func() {
		<-p.ended
		t.Stop()
	}()
	for _, c := range calls {
		c.sendCancel()
	}
}
