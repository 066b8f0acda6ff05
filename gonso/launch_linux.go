package gonso

import (
	"context"
	"errors"
	"os"
	"runtime"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/reexec"
)

// A new process inherits two things from the thread that starts it: privileges, and the namespaces
// of the types that it does not enter itself. The namespaces must be the program's own. The
// privileges must be the privileges of the calling thread, because the caller may have dropped some
// there.

// onHomeThread runs f on a thread that is at home in the Set's home types, even if the caller's
// thread is not.
func (c *core) onHomeThread(f func()) error {
	return c.runOnThread(context.Background(), nil, func(r *threadRun) bool {
		if r.begin() {
			f()
		}
		return true
	}, nil)
}

// launchAtHome runs f, which starts a process. It runs f on the calling thread if that thread is at
// home, else on another thread with the same privileges.
func (c *core) launchAtHome(op string, f func()) error {
	runtime.LockOSThread() // another thread may be elsewhere
	away := c.inheritsWrongly(AllTypes)
	if away == 0 {
		defer runtime.UnlockOSThread()
		f()
		return nil
	}
	mine, err := reexec.ThreadPrivileges()
	runtime.UnlockOSThread()
	if err != nil {
		return newError(op, 0, "", err)
	}
	var theirs reexec.Privileges
	var differ bool
	if herr := c.onHomeThread(func() {
		if theirs, err = reexec.ThreadPrivileges(); err != nil || theirs != mine {
			differ = true
			return
		}
		f()
	}); herr != nil {
		return herr
	}
	if differ {
		return newError(op, away, "", errors.Join(errPrivileges, err))
	}
	return nil
}

// checkHome refuses to start a process on the calling thread if that is away from home in a type
// that matters.
func (c *core) checkHome(op string, types Type) error {
	if away := c.inheritsWrongly(types); away != 0 {
		return newError(op, away, "", errPrivileges)
	}
	return nil
}

// inheritsWrongly returns the given types in which the calling thread is not where the program is,
// and a child would inherit that. A child that joins a namespace of the type does not inherit it,
// but its files are still found by the thread's.
func (c *core) inheritsWrongly(types Type) Type {
	away := awayFromHome(types &^ (c.foreign | Mount))
	if procfs.Away() { // in another mnt namespace, or at a root of its own
		away |= Mount
	}
	return away
}

var errPrivileges = sys.Wrap("the calling thread is in namespaces, or at a root, other than the program's, and its privileges are not those of other threads, "+
	"so that none can start it with just those; start it from outside of the closure", os.ErrInvalid)
