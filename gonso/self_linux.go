package gonso

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// passing passes signals on to a process.
type passing struct {
	signals chan os.Signal
	stopped chan struct{}
	done    sync.WaitGroup
}

// passSignals begins to collect signals, but those that this program was
// started to ignore.
func passSignals() *passing {
	p := &passing{signals: make(chan os.Signal, 64), stopped: make(chan struct{})}
	for n := syscall.Signal(1); n <= 64; n++ {
		switch n {
		case unix.SIGURG, unix.SIGPIPE, // this runtime's own, and what it writes itself
			unix.SIGKILL, unix.SIGSTOP,
			unix.SIGILL, unix.SIGTRAP, unix.SIGBUS, unix.SIGFPE, unix.SIGSEGV, unix.SIGSYS, // its own mistakes
			unix.SIGTTIN, unix.SIGTTOU, // about its own use of the terminal
			32, 33, 34: // libc's own
			continue
		}
		if !signal.Ignored(n) {
			signal.Notify(p.signals, n)
		}
	}
	return p
}

func (p *passing) to(process *os.Process) {
	p.done.Go(func() {
		for {
			select {
			case <-p.stopped:
				return
			case s := <-p.signals:
				sig := s.(syscall.Signal)
				switch {
				case sig == unix.SIGCHLD:
					stopAlong(process.Pid)
				case typed(sig) && foreground():
				default:
					_ = process.Signal(sig) // it may have ended
				}
			}
		}
	})
}

// stop ends the passing; there may be signals left that nobody wants any more.
func (p *passing) stop() {
	signal.Stop(p.signals)
	close(p.stopped)
	p.done.Wait()
}

// typed signals are sent by the terminal to all of its foreground process group.
func typed(sig syscall.Signal) bool {
	return sig == unix.SIGINT || sig == unix.SIGQUIT || sig == unix.SIGTSTP
}

// foreground reports whether this process is in that group.
func foreground() bool {
	fd, err := unix.Open("/dev/tty", unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	pgrp, err := unix.IoctlGetInt(fd, unix.TIOCGPGRP)
	return err == nil && pgrp == unix.Getpgrp()
}

// stopAlong stops this process if the other has been stopped, for the shell to
// see. SIGCONT wakes both, or is passed on.
func stopAlong(pid int) {
	var info unix.Siginfo
	if unix.Waitid(unix.P_PID, pid, &info, unix.WSTOPPED|unix.WNOHANG, nil) == nil && info.Signo != 0 {
		_ = unix.Kill(unix.Getpid(), unix.SIGSTOP)
	}
}

// endAs ends this process as another has ended.
func endAs(state *os.ProcessState) {
	status := state.Sys().(syscall.WaitStatus)
	if !status.Signaled() {
		os.Exit(status.ExitStatus())
	}
	sig := status.Signal()
	switch sig {
	case unix.SIGHUP, unix.SIGINT, unix.SIGKILL, unix.SIGTERM: // of others Go makes something else
		signal.Reset(sig)
		if unix.Kill(unix.Getpid(), sig) == nil {
			// An init, or who ignores it, lives on.
			<-time.After(time.Second)
		}
	}
	os.Exit(128 + int(sig))
}
