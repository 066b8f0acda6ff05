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

// Home is where this process was when the package was initialized. What is known of it then is which
// namespaces these are; most programs need no more. The first use opens a descriptor, by a thread that is
// there still. Threads are restored to these descriptors, one setns for each type, and never through a
// pidfd of this process: that means whatever the main thread is in at the moment, and a setns by pidfd
// that names CLONE_NEWNS moves root and working directory of the whole process.
var (
	home    [numTypes]*nsfs.NS // nil where the kernel has no such type or /proc is missing
	mainTID = os.Getpid()
)

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

// keepHome makes sure that a descriptor of home is open, and means home. A program may have closed it, as
// daemons close all that they do not know, and its number may be another file's.
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

// holdHome makes sure that a thread which leaves home will find the way back. Without it the thread ends.
func holdHome(types Type) {
	(types & threadGoesHome).each(func(i int, _ Type) {
		if h := home[i]; h != nil && !h.Held() {
			_ = keepHome(i)
		}
	})
}

// findHome opens home. The main thread is there, as gonso takes it nowhere. Where others have taken it
// elsewhere, one of the other threads is: the Go runtime's own among them, which run no goroutines.
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

// checkThreads makes every thread be compared with home, type by type, before
// work starts on it and before it is given back. It costs some microseconds a
// type; GONSO_DEBUG=threads turns it on, and gonso's own tests run with it.
var checkThreads = strings.Contains(os.Getenv("GONSO_DEBUG"), "threads")

// noWayHome returns the types of the Set in which the kernel refuses home to a thread: where that
// belongs to a user namespace other than this program's, or capabilities are missing. Which namespace
// of the type the thread comes from is all the same to the kernel (setns(2)), so that one at home can try.
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

// comeHome takes the calling thread home from where it is away. With a mnt namespace among that it
// cannot be given back to others.
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

// enterHomeMount takes the calling thread to the files of this process. It cannot be given back then.
func enterHomeMount() error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if !enterHome(Mount.index()) {
		return errNoHome
	}
	// setns has made them those of the namespace.
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

// awayFromHome returns the types, of those given, in which the calling thread is not at home.
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

// threadLink is the link that shows what a thread changed: of pid and time
// only the namespace of its children.
func threadLink(t Type) string {
	name := typeTable[t.index()].name
	if t == PID || t == Time {
		return name + "_for_children"
	}
	return name
}
