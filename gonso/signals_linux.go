package gonso

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/reexec"
)

// passing passes signals on to a process.
type passing struct {
	signals chan os.Signal
	stopped chan struct{}
	begun   sync.WaitGroup // goroutines that run during the start of the process
	done    sync.WaitGroup

	notified uint64 // the signals that are passed on

	apart   bool            // the process is in a group of its own
	witness *reexec.Witness // nil if there is none
	known   uint64          // signals to the group that a former witness has seen, not yet come here
}

// usual are the signals that programs usually get. To catch a signal takes a round trip to another
// thread of the Go runtime. So the other signals, half of them realtime signals, are caught while
// the process starts.
const usual = 1<<(unix.SIGHUP-1) | 1<<(unix.SIGINT-1) | 1<<(unix.SIGQUIT-1) | 1<<(unix.SIGTERM-1) | 1<<(unix.SIGUSR1-1) |
	1<<(unix.SIGUSR2-1) | 1<<(unix.SIGALRM-1) | 1<<(unix.SIGCHLD-1) | 1<<(unix.SIGCONT-1) | 1<<(unix.SIGTSTP-1) | 1<<(unix.SIGWINCH-1)

// passable are the signals that can be passed on, and SIGCHLD.
func passable() (set uint64) {
	for n := syscall.Signal(1); n <= 64; n++ {
		switch n {
		case unix.SIGURG, unix.SIGPIPE, // for this runtime, and about this program's own writes
			unix.SIGKILL, unix.SIGSTOP,
			unix.SIGILL, unix.SIGTRAP, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSYS, // this program's own errors
			unix.SIGTTIN, unix.SIGTTOU, // about this program's own use of the terminal
			unix.SIGPROF, 32, 33, 34: // the runtime lets nobody catch these: its profiler's, and libc's
			continue
		}
		if !signal.Ignored(n) {
			set |= 1 << (n - 1)
		}
	}
	return set
}

// passSignals begins to collect signals, except those that this program was started to ignore.
// apart says that the process will have its own group.
func passSignals(apart bool) *passing {
	p := &passing{signals: make(chan os.Signal, 64), stopped: make(chan struct{}), apart: apart}
	set := passable()
	p.notified = set &^ (1 << (unix.SIGCHLD - 1))
	p.notify(set & usual)
	p.begun.Go(func() { p.notify(set &^ usual) })
	if !apart {
		p.begun.Go(func() { p.witness, _ = reexec.StartWitness() }) // without a witness, reached guesses
	}
	return p
}

func (p *passing) notify(set uint64) {
	for n := syscall.Signal(1); n <= 64; n++ {
		if set&(1<<(n-1)) != 0 {
			signal.Notify(p.signals, n)
		}
	}
}

// to begins to pass signals on. Signals that came before are passed on, too, even if the process
// has got them itself, so that no signal is lost.
func (p *passing) to(process *os.Process) {
	p.begun.Wait()
	p.forget()
	p.done.Go(func() {
		r := reaper{command: process.Pid}
		r.reap() // those that came before
		for {
			select {
			case <-p.stopped:
				return
			case <-r.again:
				r.reap()
			case s := <-p.signals:
				sig := s.(syscall.Signal)
				switch {
				case sig == unix.SIGCHLD:
					r.reap()
					if hasStopped(process.Pid) {
						p.keepStop()
						_ = unix.Kill(unix.Getpid(), unix.SIGSTOP) // so that the shell sees it; SIGCONT wakes both, or is passed on
					}
				case p.reached(sig):
				default:
					_ = process.Signal(sig) // the process may have ended
				}
			}
		}
	})
}

// reaper reaps the processes that the command has left behind. The kernel gives them to this
// process if it is pid 1, as in a container, and nobody else waits for them.
type reaper struct {
	command int
	found   int // the one that had ended at the last look, or 0
	since   time.Time
	again   <-chan time.Time // when to look again, or nil
}

// ownerPatience is how long a child of this process that has ended may stay unreaped before it
// counts as an orphan. The kernel does not tell which children this process has started.
const ownerPatience = 10 * time.Millisecond

// reap never reaps the command: RunAndExit waits for that.
func (r *reaper) reap() {
	r.again = nil
	if unix.Getpid() != 1 {
		return
	}
	for {
		switch pid := launcher.Ended(); {
		case pid == 0 || pid == r.command:
			return
		case pid != r.found:
			r.found, r.since = pid, time.Now()
		case time.Since(r.since) >= ownerPatience:
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // its owner may have been faster
			r.found = 0
			continue
		}
		r.again = time.After(ownerPatience)
		return
	}
}

// forget starts another witness if this one has seen signals that came before the process was
// there.
func (p *passing) forget() {
	if p.witness == nil {
		return
	}
	if pending, err := p.witness.Pending(); err == nil && pending&p.notified == 0 {
		return
	}
	p.witness.End()
	p.witness, _ = reexec.StartWitness()
}

// stop ends the passing. Signals are still caught, and dropped. So a signal that comes now does not
// change how this process ends.
func (p *passing) stop() {
	p.begun.Wait()
	close(p.stopped)
	p.done.Wait()
	if p.witness != nil {
		p.witness.End()
	}
}

// reached reports whether the process has got a signal itself. It has if the signal was sent to the
// whole process group.
func (p *passing) reached(sig syscall.Signal) bool {
	if p.apart {
		return false
	}
	bit := uint64(1) << (sig - 1)
	if p.known&bit != 0 {
		p.known &^= bit
		return true
	}
	if w := p.witness; w != nil {
		pending, err := w.Pending()
		if err == nil && pending&bit == 0 {
			return false
		}
		p.relieve() // a witness can see each signal only once
		p.known &^= bit
		if err == nil {
			return true
		}
	}
	return typed(sig) && foreground()
}

// keepStop is called before this process stops. Later SIGCONT wakes it, and then the kernel drops a
// SIGTSTP (^Z) that is pending at the witness. But this SIGTSTP may not have come here yet, so
// keepStop notes it.
func (p *passing) keepStop() {
	if p.witness == nil {
		return
	}
	if pending, err := p.witness.Pending(); err == nil && pending&(1<<(unix.SIGTSTP-1)) != 0 {
		p.relieve()
	}
}

// relieve starts another witness, and keeps the signals that only the old one has seen.
func (p *passing) relieve() {
	old := p.witness
	defer old.End()
	p.witness, _ = reexec.StartWitness()
	if p.witness == nil {
		return
	}
	pending, err := old.Pending()
	if err != nil {
		return
	}
	if newer, err := p.witness.Pending(); err == nil {
		p.known |= pending &^ newer & p.notified
	}
}

// typed reports whether a terminal sends the signal, to its whole foreground process group.
func typed(sig syscall.Signal) bool {
	return sig == unix.SIGINT || sig == unix.SIGQUIT || sig == unix.SIGTSTP
}

// hasStopped reports whether a child has been stopped since the last call.
func hasStopped(pid int) bool {
	var info unix.Siginfo
	return unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WNOHANG, nil) == nil && info.Signo != 0
}
