package reexec

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// Exec closes the child's copies of all files that this program has open. Somebody else's file
// system may not answer to that (FUSE_FLUSH). On some kernels, as on Debian's 6.1.0-56, the parent
// goes on only after that: it waits in clone(2), where the Go runtime cannot take the processor away
// from it (vfork). Then the next garbage collection stops the whole program. So the closing is
// rehearsed, on a thread that nothing waits for: a thread with its own copies of all files ends, and
// the kernel closes the copies. Locks of this program's (fcntl(2)) are not lost, as they would be if
// it closed a duplicate itself.
//
// A file system that answers the rehearsal may still not answer exec. Nothing can be done about that
// here; Go's own os/exec does not rehearse.
type rehearsals struct {
	sync.Mutex
	stuck <-chan struct{} // closed when the last rehearsal that had to be left behind is over; or nil
}

var rehearsed rehearsals

// Rehearse comes before a start. If somebody else's files may be open, it returns nil only when
// copies of all files have been closed, unless there can be no rehearsal.
func Rehearse(ctx context.Context) error {
	if !cautious.Load() {
		return nil
	}
	return rehearsed.rehearse(ctx)
}

// rehearse returns nil when copies of all files have been closed. If that takes longer than ctx,
// and a while more, it returns the error of a start that is left behind. If there can be no
// rehearsal, as where a filter forbids unshare, it returns nil.
func (r *rehearsals) rehearse(ctx context.Context) error {
	r.Lock()
	stuck := r.stuck
	r.Unlock()
	if stuck != nil { // no more than one thread is left behind
		if err := waitForClosing(ctx, stuck); err != nil {
			return err
		}
	}
	over := make(chan struct{})
	if !closeCopies(over) {
		return nil
	}
	err := waitForClosing(ctx, over)
	if err != nil {
		r.Lock()
		r.stuck = over
		r.Unlock()
	}
	return err
}

func waitForClosing(ctx context.Context, over <-chan struct{}) error {
	select {
	case <-over:
		return nil
	case <-ctx.Done():
	}
	if sys.Done(over, leavePatience) {
		return nil
	}
	return stuckStart(context.Cause(ctx))
}

// closeCopies has a thread end that has copies of all files, and closes over when the kernel has
// closed the copies. It reports whether it could.
func closeCopies(over chan<- struct{}) bool {
	// The poller's own files must be among the copies: the runtime uses them on any thread. So this
	// pipe comes first, which uses the poller.
	r, w, err := os.Pipe()
	if err != nil {
		return false
	}
	last, err := tableSize()
	if err == nil {
		copied := make(chan error)
		go endWithCopies(int(w.Fd()), last-1, copied)
		err = <-copied
	}
	w.Close()
	if err != nil {
		r.Close()
		return false
	}
	go func() {
		defer close(over)
		defer r.Close()
		_, _ = r.Read(make([]byte, 1)) // until the copies of w are closed
	}()
	return true
}

// endWithCopies ends its thread, with copies of all files. The kernel closes them in the order of
// their numbers: so one of fd has the number last, or a larger one.
func endWithCopies(fd, last int, copied chan<- error) {
	sys.LockThread() // and never unlocked: the thread ends with the goroutine
	if sys.OnMainThread() {
		sys.GoElsewhere(func() { endWithCopies(fd, last, copied) })
		return
	}
	err := unix.Unshare(unix.CLONE_FILES)
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, last)
	}
	copied <- err
}

// tableSize is a number above those of all open files.
func tableSize() (int, error) {
	status, err := procfs.ReadFile("self/status", maxStatus)
	if err != nil {
		return 0, err
	}
	_, size, _ := strings.Cut(status, "\nFDSize:\t")
	size, _, _ = strings.Cut(size, "\n")
	return strconv.Atoi(size)
}
