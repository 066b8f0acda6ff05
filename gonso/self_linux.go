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
