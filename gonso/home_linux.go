package gonso

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/nsfs"
	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/reexec"
)

// Home is the namespaces that this process was in when the package was initialized. At that time
// gonso only notes their ids, because most programs need no more. The first use opens a descriptor
// of each, on a thread that is still there. Threads are restored to these descriptors, one setns
// for each type. gonso never uses a pidfd of this process for this. A pidfd means the namespaces in
// which the main thread is at the moment. And setns by a pidfd with CLONE_NEWNS moves the root and
// the working directory of the whole process.
var home [numTypes]*nsfs.NS // nil if the kernel does not have the type or /proc is missing

func init() {
	reexec.Settle = func() error { return comeHome(awayFromHome(AllTypes)) }
	dir, err := procfs.Open("thread-self/ns", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	AllTypes.each(func(i int, _ Type) { home[i] = nsfs.Known(dir, typeTable[i].name) })
}

var renewing sync.Mutex

// keepHome makes sure that a descriptor of home is open, and still means home. Daemons close
// descriptors that they do not know, and then the number may be another file's.
func keepHome(i int) error {
	h := home[i]
	if h == nil {
		return errNoHome
	}
	if h.Check() == nil {
		return nil
	}
	renewing.Lock()
	defer renewing.Unlock()
	if h.Check() == nil {
		return nil
	}
	ns, err := findHome(i)
	if err != nil {
		return err
	}
	h.Renew(ns)
	return nil
}

// holdHome opens home before a thread leaves it, so that the thread can go back. A thread that
// cannot go back ends.
func holdHome(types Type) {
	(types & threadGoesHome).each(func(i int, _ Type) {
		if h := home[i]; h != nil && !h.Held() {
			_ = keepHome(i)
		}
	})
}

// findHome opens home. The main thread is there, because gonso moves it nowhere. If other code has
// moved it, another thread is there: the Go runtime has threads of its own, which run no
// goroutines.
func findHome(i int) (*nsfs.NS, error) {
	if ns, err := openHome(i, "self/ns"); err == nil {
		return ns, nil
	}
	ids, err := procfs.Names("self/task")
	for _, id := range ids {
		if ns, err := openHome(i, "self/task/"+id+"/ns"); err == nil {
			return ns, nil
		}
	}
	return nil, errors.Join(errNoHome, err)
}

func openHome(i int, in string) (*nsfs.NS, error) {
	dir, err := procfs.Open(in, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	ns, err := nsfs.OpenProc(dir, typeTable[i].name, uint32(typeTable[i].typ))
	if err != nil {
		return nil, err
	}
	if !home[i].Same(ns) {
		ns.Release()
		return nil, errNoHome
	}
	return ns, nil
}

// enterHome takes the calling thread home.
func enterHome(i int) bool {
	h, typ := home[i], uint32(typeTable[i].typ)
	if h == nil {
		return false
	}
	err := h.Enter(typ)
	if errors.Is(err, os.ErrClosed) && keepHome(i) == nil {
		err = h.Enter(typ)
	}
	return err == nil
}

var errNoHome = errors.New("what this program was started in is not known")

// checkThreads makes gonso compare every thread with home, type by type, before work starts on it
// and before it is given back. That costs some microseconds for each type. GONSO_DEBUG=threads
// turns it on, and gonso's own tests run with it.
var checkThreads = strings.Contains(os.Getenv("GONSO_DEBUG"), "threads")

// noWayHome returns the types of the Set whose home the kernel would refuse to a thread. It refuses
// if capabilities are missing, or if home belongs to a user namespace other than this program's.
// The kernel does not look at the namespace that the thread leaves (setns(2)), so a thread at home
// can try.
func (c *core) noWayHome() (refused Type) {
	tried := make(chan struct{})
	go func() {
		defer close(tried)
		sys.LockThread()
		(c.foreign & threadGoesHome).each(func(i int, t Type) {
			if !enterHome(i) {
				refused |= t
			}
		})
		sys.UnlockThread()
	}()
	<-tried
	return refused
}

// comeHome takes the calling thread home, in the types in which it is away. If mnt is one of them,
// the thread cannot be given back.
func comeHome(away Type) (err error) {
	(away &^ Mount).each(func(i int, t Type) {
		if err == nil && !enterHome(i) {
			err = newError("run", t, "", errThreadTainted)
		}
	})
	if err == nil && away&Mount != 0 {
		if merr := enterHomeMount(); merr != nil {
			err = newError("run", Mount, "", fmt.Errorf("%w: %w", errThreadTainted, merr))
		}
	}
	return err
}

// enterHomeMount takes the calling thread to the mount namespace of this process. The thread cannot
// be given back then.
func enterHomeMount() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if !enterHome(Mount.index()) {
		return errNoHome
	}
	// setns has set root and working directory to the root of the namespace.
	for _, of := range []struct {
		link string
		take func() error
	}{{"self/root", func() error { return unix.Chroot(".") }}, {"self/cwd", func() error { return nil }}} {
		fd, err := procfs.Link(of.link, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		err = unix.Fchdir(fd)
		unix.Close(fd)
		if err == nil {
			err = of.take()
		}
		if err != nil {
			return &os.PathError{Op: "enter", Path: "/proc/" + of.link, Err: err} // path: for errors
		}
	}
	return nil
}

// awayFromHome returns the given types in which the calling thread is not at home.
func awayFromHome(types Type) Type {
	var away Type
	dir, err := procfs.Open("thread-self/ns", unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		defer unix.Close(dir)
	}
	types.each(func(i int, t Type) {
		if home[i] == nil {
			return
		}
		if ino, err := procfs.NSInode(dir, threadLink(t)); err != nil || ino != home[i].Ino() {
			away |= t
		}
	})
	return away
}

// threadLink is the link that shows the namespace of a thread. For pid and time it is the link for
// the thread's children, because a thread can change only their namespace.
func threadLink(t Type) string {
	name := typeTable[t.index()].name
	if t == PID || t == Time {
		return name + "_for_children"
	}
	return name
}
