package gonso

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// endAs ends this process as another has ended.
func endAs(state *os.ProcessState) {
	status := state.Sys().(syscall.WaitStatus)
	if !status.Signaled() {
		os.Exit(status.ExitStatus())
	}
	sig := status.Signal()
	if canEndBy(sig) {
		signal.Reset(sig)
		if unix.Kill(unix.Getpid(), sig) == nil {
			<-time.After(time.Second) // it may be traced
		}
	}
	os.Exit(128 + int(sig))
}

// canEndBy reports whether a signal that this process sends to itself would end it, and by just that
// signal. Of others than these the Go runtime makes something else.
//
// The kernel ends no init by a signal of its own pid namespace that it does not handle
// (sig_task_ignored in kernel/signal.c), and the Go runtime exits with 2 when it tried and lives on
// (dieFromSignal in runtime/signal_unix.go).
func canEndBy(sig syscall.Signal) bool {
	switch sig {
	case unix.SIGHUP, unix.SIGINT, unix.SIGKILL, unix.SIGTERM:
		return unix.Getpid() != 1 && !signal.Ignored(sig)
	}
	return false
}
