package gonso

import (
	"errors"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/nsfs"
	"github.com/gonso/gonso/internal/procfs"
)

// Home is where this process was when the package was initialized: one held
// descriptor for each type. Threads are restored to these descriptors, one
// setns for each type, and never through a pidfd of this process: that means
// whatever the main thread is in at the moment, and a setns by pidfd that names
// CLONE_NEWNS moves root and working directory of the whole process.
var (
	home    [numTypes]*nsfs.NS // nil where the kernel has no such type or /proc is missing
	mainTID = os.Getpid()
)

func init() {
	dir, err := procfs.Open("thread-self/ns", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	defer unix.Close(dir)
	AllTypes.each(func(i int, t Type) {
		if ns, err := nsfs.OpenProc(dir, typeTable[i].name, uint32(t)); err == nil {
			home[i] = ns
		}
	})
}

var renewing sync.Mutex

// keepHome makes sure that a descriptor of home is what it was. A program may have closed it, as
// daemons close all that they do not know, and its number may be another file's. The main thread
// never enters anything: what is there under the same number is home.
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
	dir, err := procfs.Open("self/ns", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	ns, err := nsfs.OpenProc(dir, typeTable[i].name, uint32(typeTable[i].typ))
	if err != nil {
		return err
	}
	if !h.Same(ns) {
		ns.Release()
		return errNoHome
	}
	h.Renew(ns)
	return nil
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

// awayFromHome returns the types in which the calling thread is not at home.
func awayFromHome() Type {
	var away Type
	dir, err := procfs.Open("thread-self/ns", unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		defer unix.Close(dir)
	}
	AllTypes.each(func(i int, t Type) {
		if home[i] == nil {
			return
		}
		var st unix.Stat_t
		err := unix.Fstatat(dir, threadLink(t), &st, 0)
		if err != nil || uint64(st.Dev) != home[i].Dev() || st.Ino != home[i].Ino() {
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
