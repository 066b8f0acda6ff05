package reexec

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// ErrFrozen says that nothing runs in a cgroup.
var ErrFrozen = errors.New("frozen cgroup: nothing runs in it before 0 is written to its cgroup.freeze, or to that of a directory above")

// frozen reports ErrFrozen if the cgroup, or one above it, is frozen (cgroup.freeze and
// cgroup.events, Linux 5.2).
func frozen(cgroup *os.File) error {
	if strings.TrimSpace(readIn(cgroup, "cgroup.freeze")) == "1" {
		return ErrFrozen
	}
	for line := range strings.Lines(readIn(cgroup, "cgroup.events")) {
		if strings.TrimSpace(line) == "frozen 1" {
			return ErrFrozen
		}
	}
	return nil
}

// readIn reads a file of a cgroup. It returns "" if the file does not exist.
func readIn(cgroup *os.File, name string) string {
	var b []byte
	_ = sys.OnFD(cgroup, func(dir int) error {
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), name)
		defer f.Close()
		b, err = io.ReadAll(io.LimitReader(f, 1<<20))
		return err
	})
	return string(b)
}

// freezeTimeout is how long a clone into a cgroup may take.
const freezeTimeout = time.Second

// CloneInto calls start, which clones into a cgroup. A child that is frozen before its first exec
// would block this thread (vfork), and all other threads that want to fork. The cgroup was checked
// before. If a child is still frozen, CloneInto kills it.
func CloneInto(cgroup *os.File, start func() error) error {
	if cgroup == nil {
		return start()
	}
	if err := frozen(cgroup); err != nil {
		return frozenError(cgroup, err)
	}
	var killed atomic.Bool
	end, ended := make(chan struct{}), make(chan struct{})
	watch := time.AfterFunc(freezeTimeout, func() {
		defer close(ended)
		for tick := time.NewTicker(freezeTimeout / 10); ; {
			if killUnexecuted(cgroup) {
				killed.Store(true)
			}
			select {
			case <-tick.C:
			case <-end:
				tick.Stop()
				return
			}
		}
	})
	err := start()
	close(end)
	if !watch.Stop() {
		<-ended
	}
	if killed.Load() {
		return errors.Join(frozenError(cgroup, ErrFrozen), err)
	}
	return err
}

func frozenError(cgroup *os.File, err error) error {
	return &LaunchError{Op: "join cgroup", Path: cgroup.Name(), Step: fmt.Sprintf("clone into %s", cgroup.Name()), Err: err}
}

// forkNoExec is PF_FORKNOEXEC: forked, and has not executed anything.
const forkNoExec = 0x40

// killUnexecuted kills the children of this process in a cgroup that have not executed anything.
func killUnexecuted(cgroup *os.File) (any bool) {
	for _, s := range strings.Fields(readIn(cgroup, "cgroup.procs")) { // ids are the reader's
		pid, err := strconv.Atoi(s)
		if err == nil && isChild(pid) && !hasExecuted(pid) {
			any = unix.Kill(pid, unix.SIGKILL) == nil || any
		}
	}
	return any
}

// isChild reports whether pid is a child of this process. A child stays a child until it is reaped.
func isChild(pid int) bool {
	const look = unix.WEXITED | unix.WNOHANG | unix.WNOWAIT | unix.WALL
	return pid > 0 && unix.Waitid(unix.P_PID, pid, nil, look, nil) == nil
}

// statOf is what proc_pid_stat(5) has of a process from its state on: state, ppid, pgrp, session,
// tty, tpgid, flags. It is nil if this is not known.
func statOf(pid int) []string {
	d, err := procfs.Process(pid)
	if err != nil {
		return nil
	}
	defer d.Close()
	stat, err := d.ReadFile("stat", 1<<12)
	i := strings.LastIndexByte(stat, ')')
	if err != nil || i < 0 {
		return nil
	}
	return strings.Fields(stat[i+1:])
}

var errStopped = errors.New("the worker is stopped (SIGSTOP), and nothing runs in it before SIGCONT")

// isStopped reports whether a child is known to be stopped by a signal.
func isStopped(pid int) bool {
	f := statOf(pid)
	return len(f) > 0 && f[0] == "T" && isChild(pid)
}

// hasExecuted reports whether a process is known to have executed something since it was forked.
func hasExecuted(pid int) bool {
	f := statOf(pid)
	if len(f) < 7 {
		return true
	}
	flags, err := strconv.ParseUint(f[6], 10, 64)
	return err != nil || flags&forkNoExec == 0
}

// isFrozen reports whether the Worker's cgroup is frozen.
func (w *Worker) isFrozen() bool {
	if w.opts.Cgroup == "" {
		return false
	}
	f, err := openCgroup(w.opts.Cgroup)
	if err != nil {
		return false
	}
	defer f.Close()
	return frozen(f) != nil
}
