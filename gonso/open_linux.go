package gonso

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/nsfs"
	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// collect opens the links of a directory like /proc/PID/ns. With optional, a type without a link is
// left out.
func collect(op, dir string, dirfd int, types Type, optional, opened bool, openNS func(int, string, uint32) (*nsfs.NS, error)) (*core, error) {
	c := newCore()
	var err error
	types.each(func(i int, t Type) {
		if err != nil {
			return
		}
		ns, oerr := openNS(dirfd, typeTable[i].name, uint32(t))
		switch {
		case oerr == nil:
			c.add(t, ns, opened)
		case optional && errors.Is(oerr, fs.ErrNotExist):
		default:
			err = withMissingType(stale(newError(op, t, dir+"/"+typeTable[i].name, oerr), dirfd, typeTable[i].name))
		}
	})
	if err != nil {
		c.release()
		return nil, err
	}
	return c.ready(), nil
}

func openCurrent(types Type, optional bool) (*core, error) {
	return openThread("current", types, optional, false, openOwn)
}

// openOwn is nsfs.OpenProc for namespaces that are mostly home. It does not open those again.
func openOwn(dirfd int, name string, typ uint32) (*nsfs.NS, error) {
	i := Type(typ).index()
	if h := home[i]; h != nil {
		if ino, err := procfs.NSInode(dirfd, name); err == nil && ino == h.Ino() && keepHome(i) == nil {
			return h.Retain(), nil
		}
	}
	return nsfs.OpenProc(dirfd, name, typ)
}

// openThread opens the namespaces of the calling thread.
func openThread(op string, types Type, optional, opened bool, openNS func(int, string, uint32) (*nsfs.NS, error)) (*core, error) {
	// Another thread may have ended by the time that its directory is read.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const dir = "/proc/thread-self/ns" // path: for errors
	fd, err := procfs.Open("thread-self/ns", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, newError(op, types, dir, err)
	}
	defer unix.Close(fd)
	return collect(op, dir, fd, types, optional, opened, openNS)
}

func openPID(pid int, types Type, optional bool) (*core, error) {
	path := "/proc/" + strconv.Itoa(pid) // path: for errors
	if pid <= 0 {
		return nil, newError("open", 0, path, os.ErrInvalid).withHint("process ids are positive")
	}
	d, err := procfs.Process(pid)
	if err != nil {
		return nil, withHiddenProcess(newError("open", 0, path, err), pid)
	}
	defer d.Close()
	c, err := openProcess(d, types, optional)
	return c, withHiddenProcess(err, pid)
}

// matchName returns ns if it has the type that its name claims, and else closes it.
func matchName(ns *nsfs.NS, name string) (*nsfs.NS, error) {
	got, err := ns.Type()
	if want, _ := typeByName(name); err == nil && Type(got) != want {
		err = errors.New("it is a namespace of type " + Type(got).String())
	}
	if err != nil {
		ns.Release()
		return nil, err
	}
	return ns, nil
}

func openPaths(paths []string) (*core, error) {
	c := newCore()
	for _, p := range paths {
		if err := c.addPath(p); err != nil {
			c.release()
			return nil, err
		}
	}
	return c.ready(), nil
}

func (c *core) addPath(path string) error {
	ns, err := nsfs.OpenAt(unix.AT_FDCWD, path)
	if err != nil {
		return withTraceHintFor(stale(newError("open", 0, path, err), unix.AT_FDCWD, path), path)
	}
	if err := c.addUnknown(ns); err != nil {
		return newError("open", 0, path, err)
	}
	return nil
}

// stale explains that a file was made for a pinned namespace, and that no namespace is there now.
func stale(e *Error, dirfd int, name string) *Error {
	if errors.Is(e.Err, ErrNotNamespace) && isEmptyFile(dirfd, name) {
		e.Hint = nothingMounted + "; possibly a namespace was pinned there before the last boot, or in another mnt namespace, or was unmounted since"
	}
	return e
}

// isEmptyFile reports whether a file is plain and empty. Files of the kernel's own, such as those of
// procfs, have no size either.
func isEmptyFile(dirfd int, name string) bool {
	fd, err := sys.Openat(dirfd, name, unix.O_PATH, 0)
	if err != nil {
		return false
	}
	w := &found{fd: fd}
	defer w.close()
	return unix.Fstat(fd, &w.stat) == nil && w.is(unix.S_IFREG) && w.stat.Size == 0 && w.ordinary() == nil
}

const nothingMounted = "it is an empty file with nothing mounted on it"

func openDirectory(path string) (int, error) {
	return unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

func openFiles(files []*os.File) (*core, error) {
	c := newCore()
	for i, f := range files {
		if err := c.addFile(i, f); err != nil {
			c.release()
			return nil, err
		}
	}
	return c.ready(), nil
}

func (c *core) addFile(i int, f *os.File) error {
	if f == nil {
		return invalid("open", fmt.Sprintf("file %d of the arguments, counted from 0, is nil", i))
	}
	ns, err := nsfs.Dup(f)
	if err != nil {
		return newError("open", 0, f.Name(), err)
	}
	err = c.addUnknown(ns)
	if errors.Is(err, unix.EBADF) {
		return newError("open", 0, f.Name(), err).withHint("it was opened with O_PATH")
	}
	if err != nil {
		return newError("open", 0, f.Name(), err)
	}
	return nil
}

// addUnknown adds a namespace of any type. It owns the namespace, even if it fails.
func (c *core) addUnknown(ns *nsfs.NS) error {
	t, err := typeOf(ns)
	if err == nil && c.types&t != 0 {
		err = errTwoOfAType
	}
	if err != nil {
		ns.Release()
		return err
	}
	c.add(t, ns, true)
	return nil
}

// typeOf asks the kernel for the type. nsfs may have files of types that gonso does not know.
func typeOf(ns *nsfs.NS) (Type, error) {
	n, err := ns.Type()
	t := Type(n)
	if err == nil && (!t.single() || t.check() != nil) {
		err = errors.ErrUnsupported
	}
	return t, err
}

// openPIDFD uses /proc. The ioctls that give the namespaces of a pidfd came as late as Linux 6.11.
func openPIDFD(pidfd *os.File, types Type, optional bool) (*core, error) {
	if pidfd == nil {
		return nil, invalid("open", "the pidfd is nil")
	}
	rc, err := pidfd.SyscallConn()
	if err != nil {
		return nil, newError("open", 0, pidfd.Name(), err)
	}
	var c *core
	if rc.Control(func(fd uintptr) {
		var d *procfs.Dir
		if d, err = procfs.ProcessOf(int(fd)); err == nil {
			defer d.Close()
			c, err = openProcess(d, types, optional)
		}
	}) != nil {
		err = os.ErrClosed // the error of Control does not match it
	}
	var e *Error
	if err != nil && !errors.As(err, &e) {
		err = newError("open", 0, pidfd.Name(), err)
	}
	return c, err
}

// openProcess opens the namespaces of a process.
func openProcess(d *procfs.Dir, types Type, optional bool) (*core, error) {
	c, err := collect("open", d.String()+"/ns", d.FD(), types, optional, true, func(fd int, name string, typ uint32) (*nsfs.NS, error) {
		ns, err := nsfs.OpenProc(fd, "ns/"+name, typ)
		if errors.Is(err, fs.ErrNotExist) && home[Type(typ).index()] != nil {
			// The kernel has the type, so the process has ended.
			err = unix.ESRCH
		}
		return ns, err
	})
	return c, withTraceHint(err, d)
}

// openDir uses the files whose names are types. If there are none, it asks the kernel for the type
// of each file.
func openDir(dir string, types Type, optional bool) (*core, error) {
	fd, err := openDirectory(dir)
	if err != nil {
		return nil, newError("open", 0, dir, err)
	}
	defer unix.Close(fd)
	if !hasTypeNames(fd) {
		return openUnnamed(dir, fd, types, optional)
	}
	c, err := collect("open", dir, fd, types, optional, true, func(fd int, name string, _ uint32) (*nsfs.NS, error) {
		ns, err := nsfs.OpenAt(fd, name)
		if err != nil {
			return nil, err
		}
		return matchName(ns, name)
	})
	if err != nil {
		return nil, withTraceHintFor(err, dir)
	}
	if c.types == 0 {
		c.release()
		return nil, newError("open", 0, dir, fs.ErrNotExist).
			withHint("of the files that are named like namespace types all are dangling links")
	}
	return c, nil
}

func hasTypeNames(dirfd int) bool {
	found := false
	AllTypes.each(func(i int, _ Type) {
		var st unix.Stat_t
		found = found || unix.Fstatat(dirfd, typeTable[i].name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
	})
	return found
}

// openUnnamed is for directories such as /run/netns.
func openUnnamed(dir string, dirfd int, types Type, optional bool) (*core, error) {
	names, err := namesIn(dir, dirfd)
	if err != nil {
		return nil, newError("open", 0, dir, err)
	}
	c := newCore()
	var taken [numTypes]string
	var left []string
	for _, name := range names {
		path := filepath.Join(dir, name)
		ns, err := nsfs.OpenAt(dirfd, name)
		if errors.Is(err, nsfs.ErrNotNamespace) || errors.Is(err, fs.ErrNotExist) {
			if stale(newError("open", 0, path, err), dirfd, name).Hint != "" {
				left = append(left, name)
			}
			continue
		}
		if err == nil {
			err = c.addWanted(ns, types, path, &taken)
		} else {
			err = newError("open", 0, path, err)
		}
		if err != nil {
			c.release()
			return nil, err
		}
	}
	missing := types &^ c.types
	if c.types == 0 || !optional && missing != 0 {
		c.release()
		e := newError("open", 0, dir, fs.ErrNotExist).
			withHint("no file in it is named like a namespace type: cgroup, ipc, mnt, net, pid, time, user, uts; and none is a namespace file by another name")
		if !optional {
			e.Type = missing
			e.Hint += " and of this type"
		}
		if len(left) > 0 {
			e.Hint += fmt.Sprintf("; as to %.100q, %s", left[0], nothingMounted)
		}
		return nil, e
	}
	return c.ready(), nil
}

// addWanted adds ns if it has one of the types. It owns ns.
func (c *core) addWanted(ns *nsfs.NS, types Type, path string, taken *[numTypes]string) error {
	t, err := typeOf(ns)
	if err == nil && types&t != 0 && c.types&t == 0 {
		c.add(t, ns, true)
		taken[t.index()] = path
		return nil
	}
	defer ns.Release()
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return nil // a type that gonso does not know
	case err != nil:
		return newError("open", 0, path, err)
	case types&t == 0 || c.ns[t.index()].Same(ns):
		return nil
	}
	first := taken[t.index()]
	return newError("open", t, filepath.Dir(path), fmt.Errorf("%s and %s are both of this type, and a Set has one of each", first, path)).
		withHint(fmt.Sprintf("open the one that is meant, as with gonso.Open(%q)", first))
}

// namesIn lists a directory, sorted. A descriptor with O_PATH cannot be read.
func namesIn(dir string, dirfd int) ([]string, error) {
	fd, err := unix.Openat(dirfd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), dir)
	defer f.Close()
	names, err := f.Readdirnames(0)
	if err == io.EOF {
		err = nil
	}
	slices.Sort(names)
	return names, err
}
