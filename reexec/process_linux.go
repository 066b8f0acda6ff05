package reexec

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/wire"
)

// process is one running worker.
type process struct {
	owner  *Worker
	conn   *wire.Conn
	turns  *turns // in reading conn
	intake *intake
	apart  apart
	proc   *launcher.Process
	stderr *stderrTail
	exe    fileID   // of the program that it runs
	oom    oomCount // from before it ran

	since    time.Time // when it came up
	answered bool      // whether it has ever answered a call; belongs to the goroutine that reads

	mu      sync.Mutex
	calls   map[uint64]*call // in flight
	lastID  uint64
	entered int       // calls counted by enter and not yet left
	left    time.Time // when the last call was left
	retired bool
	idle    *time.Timer
	cause   error // why this process ended the worker; nil if it did not
	killed  time.Time

	pidfd *os.File      // of the worker, or nil
	ended chan struct{} // closed when the worker was reaped, or cannot be
}

func newProcess(w *Worker, conn *wire.Conn, proc *launcher.Process, stderr *stderrTail) *process {
	p := &process{
		owner: w, conn: conn, proc: proc, stderr: stderr,
		calls: make(map[uint64]*call), ended: make(chan struct{}), intake: newIntake(),
	}
	conn.SetGate(p.admit)
	p.turns = newTurns(p.read)
	return p
}

// read takes one frame of the worker, and sees to the worker's end if there are
// no more.
func (p *process) read() (more bool) {
	f, err := p.conn.Read()
	if err == nil {
		err = p.receive(f)
	}
	if err != nil {
		p.end(err)
	}
	return err == nil
}

// enter counts a call, unless the worker takes no more calls.
func (p *process) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.retired {
		return false
	}
	p.entered++
	return true
}

// isolate counts the one call that the worker takes. Nobody else knows the worker yet.
func (p *process) isolate() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.entered, p.retired = 1, true
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

// retire makes new calls go to a new worker, and reports whether they did already.
func (p *process) retire() (already bool) {
	p.mu.Lock()
	already, p.retired = p.retired, true
	p.mu.Unlock()
	p.owner.forget(p, false)
	return already
}

// idleEnd ends the worker if it has been idle for long enough. Otherwise it runs again later.
// Setting the timer anew for each call would wake a thread for each call.
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

// watchEnd ends the conversation when the worker has ended, even if something that it has
// started keeps its ends of the connection.
func (p *process) watchEnd() {
	fd, err := unix.PidfdOpen(p.proc.Pid, unix.O_NONBLOCK) // PIDFD_NONBLOCK
	if err != nil {
		return // the worker is gone, or a filter of system calls hides pidfds
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	p.pidfd = f
	go func() {
		defer f.Close()
		if untilEnd(f) == nil {
			p.conn.Shutdown() // read returns the frames that have come, and then the end
			p.turns.hurry()
		}
	}()
}

// hangUp ends the conversation, and with it the worker.
func (p *process) hangUp() {
	p.intake.end()
	p.conn.Close()
	p.turns.hurry()
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
		go c.sendEnd(wire.Cancel) // the worker may not read
	}
}

// kill ends the worker. Its callers get cause as the reason.
func (p *process) kill(cause error) {
	switch {
	case p.owner.isFrozen():
		cause = fmt.Errorf("%w: %w", cause, ErrFrozen)
	case isStopped(p.proc.Pid):
		cause = fmt.Errorf("%w: %w", cause, errStopped)
	}
	p.mu.Lock()
	if p.cause == nil {
		p.cause, p.killed = cause, time.Now()
	}
	p.mu.Unlock()
	p.intake.end()
	p.proc.Kill()
	// The reader sees the worker's end, unless the kernel does not end the worker.
	time.AfterFunc(sys.KillTimeout, func() {
		p.conn.Shutdown()
		p.turns.hurry()
	})
}

// end sees to the worker's end after reading has failed.
func (p *process) end(err error) {
	told := p.retire()
	var cause error
	if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
		// The worker does not keep to the protocol, and gets no more calls.
		cause = err
		p.kill(err)
	}
	p.hangUp()
	took := ""
	if cause == nil && p.busy() {
		took = p.took() // before it can have ended
	}
	died := p.reap(cause)
	if took != "" {
		died.Why = took
	}
	if p.pidfd != nil {
		p.pidfd.Close()
	}
	p.mu.Lock()
	p.idle.Stop()
	calls := p.calls
	p.calls = nil
	p.mu.Unlock()
	p.owner.judge(p, told, died)
	for _, c := range calls {
		c.finish(nil, died.forCall(c, calls))
	}
	p.owner.forget(p, true)
	close(p.ended)
}

// busy reports whether calls are in flight.
func (p *process) busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.calls) > 0
}

// exitTimeout is how long a worker without a connection may take to end by itself.
const exitTimeout = 750 * time.Millisecond

// minReap is how long a process that was killed some time ago may take to be reaped.
const minReap = 100 * time.Millisecond

var errLingers = errors.New("its ends of the connection were closed, but it did not end, so it was killed")

// reap waits for the worker's end, which is due, and for its output.
func (p *process) reap(cause error) *DiedError {
	byItself := exitTimeout
	p.mu.Lock()
	if p.cause != nil { // it was killed
		byItself = 0
	}
	p.mu.Unlock()
	state, err := launcher.Reap(p.proc.Process, byItself, func() time.Duration {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.cause == nil {
			p.cause, p.killed = errLingers, time.Now()
		}
		p.proc.Kill()
		return max(sys.KillTimeout-time.Since(p.killed), minReap)
	})
	said := p.stderr.stop()
	died := &DiedError{Stderr: said.text, said: said, Cause: cause}
	p.mu.Lock()
	if p.cause != nil {
		died.Cause = p.cause
	}
	p.mu.Unlock()
	var stuck *procfs.StuckError
	switch {
	case err == nil:
		died.Status = state.String()
		if ws, ok := state.Sys().(syscall.WaitStatus); died.Cause == errLingers && ok && !ws.Signaled() {
			died.Cause = cause // it ended after all, before the signal came
		}
		if died.Cause == nil {
			died.Why = p.why(state, said)
		}
	case errors.As(err, &stuck):
		died.Stuck = stuck
	}
	return died
}
