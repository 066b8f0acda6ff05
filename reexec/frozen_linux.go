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

// readIn reads a file of a cgroup, which is "" if there is none.
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

// CloneInto calls start, which clones into a cgroup. A child that is frozen before it has
// executed anything would hold up this thread (vfork), and all others that want to fork: one
// that came there in spite of the look before is killed.
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
	for _, pid := range strings.Fields(readIn(cgroup, "cgroup.procs")) {
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		i := strings.LastIndexByte(string(stat), ')')
		if err != nil || i < 0 {
			continue
		}
		// state, ppid, pgrp, session, tty, tpgid, flags
		f := strings.Fields(string(stat[i+1:]))
		if len(f) < 7 || f[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		flags, _ := strconv.ParseUint(f[6], 10, 64)
		if n, err := strconv.Atoi(pid); err == nil && flags&forkNoExec != 0 {
			any = unix.Kill(n, unix.SIGKILL) == nil || any
		}
	}
	return any
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
