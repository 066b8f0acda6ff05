package gonso

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endAs ends this process as another process has ended.
func endAs(state *os.ProcessState) {
	status := state.Sys().(syscall.WaitStatus)
	if !status.Signaled() {
		os.Exit(status.ExitStatus())
	}
	sig := status.Signal()
	if canEndBy(sig) {
		signal.Reset(sig)
		if unix.Kill(unix.Getpid(), sig) == nil {
			<-time.After(time.Second) // a tracer may delay the end
		}
	}
	os.Exit(128 + int(sig))
}

// canEndBy reports whether this process would end by a signal that it sends to itself. For signals
// other than these four, the Go runtime does something else.
//
// An init does not end by a signal from its own pid namespace that it does not handle
// (sig_task_ignored in kernel/signal.c). The Go runtime then exits with status 2 (dieFromSignal in
// runtime/signal_unix.go).
func canEndBy(sig syscall.Signal) bool {
	switch sig {
	case unix.SIGHUP, unix.SIGINT, unix.SIGKILL, unix.SIGTERM:
		return unix.Getpid() != 1 && !signal.Ignored(sig)
	}
	return false
}
