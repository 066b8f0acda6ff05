package reexec

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/procfs"
)

// Reaper is the pid 1 of a pid namespace: a launcher that reaps orphans.
type Reaper struct {
	p     *launcher.Process // the original, whose only child is the pid 1
	group int               // of processes, which the original leads

	watched sync.Once
	gone    chan struct{} // closed when pid 1 has ended, or when err is set
	err     error         // why the end of pid 1 cannot be told
}

// Close ends the Reaper, and so all processes in its pid namespace. Nothing can be started there
// after that. Close does not wait: the kernel keeps a pid 1 until every process of the namespace
// has been reaped. Children of this process must be reaped by the code that has started them.
func (r *Reaper) Close() error {
	err := r.p.CloseControl()
	go func() {
		r.watched.Do(r.watch) // later the original may be gone, and pid 1 not
		r.p.Reap(exitTimeout) // it may be stopped, and then does not see the closed pipe
		reapOrphans(r.group)
	}()
	return err
}

// Gone returns a channel that is closed when the Reaper has ended. Then every process in its pid
// namespace has been reaped. It is closed, too, if that cannot be told: Err then says why.
func (r *Reaper) Gone() <-chan struct{} {
	r.watched.Do(r.watch)
	return r.gone
}

// Err may be called once the channel of Gone is closed.
func (r *Reaper) Err() error { return r.err }

func (r *Reaper) watch() {
	init, err := r.open()
	if init == nil {
		r.err = err
		close(r.gone)
		return
	}
	go func() {
		defer close(r.gone)
		defer init.Close()
		r.err = untilEnd(init)
	}()
}

// open returns a pidfd of the pid 1, or nil if the pid 1 has been reaped.
func (r *Reaper) open() (init *os.File, err error) {
	herr := r.p.WithHandle(func(handle uintptr) {
		if init, err = onlyChild(int(handle)); init == nil {
			err = endedByItself(int(handle), err)
		}
	})
	if errors.Is(herr, os.ErrProcessDone) {
		herr = nil
	}
	return init, errors.Join(herr, err)
}

// onlyChild opens the child of a process. It returns nil if there is no child. The id of the child
// comes from this process's procfs: the parent may be in another pid namespace, and cannot tell it.
func onlyChild(parent int) (*os.File, error) {
	dir, err := procfs.ProcessOf(parent)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	children := func() (string, error) {
		list, err := dir.ReadFile(fmt.Sprintf("task/%d/children", dir.ID), 64)
		return strings.TrimSpace(list), err
	}
	only, err := children()
	if err != nil || only == "" {
		return nil, err
	}
	id, err := strconv.Atoi(only)
	if err != nil {
		return nil, err
	}
	fd, err := unix.PidfdOpen(id, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("pidfd_open", err)
	}
	f := os.NewFile(uintptr(fd), "init")
	// The pidfd is the child's if the child is still there, and if ids mean here what they mean in
	// the procfs.
	again, _ := children()
	if d, err := procfs.ProcessOf(fd); err == nil {
		d.Close()
		if d.ID == id && again == only {
			return f, nil
		}
	}
	f.Close()
	return nil, procfs.ErrForeign
}

// endedByItself returns nil if the process of a pidfd has ended by itself, and so after its child.
// A signal may have ended it before its child. If it has not ended, why says why the child was not
// found.
func endedByItself(pidfd int, why error) error {
	// A zombie that is traced has ended, and waitid does not show it before its tracer has waited.
	for end := time.Now().Add(exitTimeout); ; time.Sleep(time.Millisecond) {
		launcher.EndsWithin(pidfd, time.Until(end))
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, pidfd, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		switch {
		case err == unix.EINTR:
		case err == unix.ECHILD: // this program reaps every child
			return nil
		case err != nil:
			return os.NewSyscallError("waitid", err)
		case info.Code == cldExited:
			return nil
		case info.Signo != 0:
			return ErrInitUnknown
		case time.Now().After(end):
			return errors.Join(ErrInitUnknown, why)
		}
	}
}

const cldExited = 1 // of asm-generic/siginfo.h

// ErrInitUnknown says that nothing tells whether the Reaper has ended.
var ErrInitUnknown = errors.New("the end of the init cannot be told: its parent was killed before it, or /proc does not show it")

// untilEnd waits until the process of a pidfd has ended.
func untilEnd(pidfd *os.File) error {
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return err
	}
	var perr error
	err = raw.Read(func(fd uintptr) bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		for err == unix.EINTR {
			n, err = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		}
		perr = os.NewSyscallError("poll", err)
		return n > 0 || perr != nil
	})
	return errors.Join(err, perr)
}

// reapOrphans reaps the init of a pid namespace if its original has ended first and the init is a
// child of this process now. Orphans become children of an ancestor that is pid 1 or a subreaper
// (prctl(2)). The init is in the process group of the original. No other group has that number as
// long as the init exists. The init ends by itself.
func reapOrphans(group int) {
	if !launcher.TakesOrphans() {
		return
	}
	for began := time.Now(); time.Since(began) < exitTimeout; time.Sleep(time.Millisecond) {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PGID, group, &info, unix.WEXITED|unix.WNOHANG, nil)
		if err != nil && err != unix.EINTR {
			return // there is no such child (ECHILD)
		}
	}
}
