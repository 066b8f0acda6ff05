package gonso

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// A process has one directory in procfs. There its files show the namespaces of its main thread,
// which never enters a Set. Many names lead to that directory: /proc/self, /proc/net, /etc/mtab,
// other links, other mounts of procfs. So this file compares no paths. It looks a name up, one
// element at a time, and goes on in the directory of the thread where an element is one of
// threadsFiles in the directory of this process.

// threadsFiles are the files of a process that show namespaces, with the types that they show. Other
// files are not among them, because a file of a thread shows nothing after the thread has ended.
var threadsFiles = map[string]Type{"net": Net, "ns": AllTypes, "mounts": Mount, "mountinfo": Mount, "root": Mount, "cwd": Mount, noThreadHas: Mount}

// noThreadHas is a file that only processes have.
const noThreadHas = "mountstats"

var (
	errNoSelf       = sys.Wrap("the thread that opens it is not in the pid namespace of that procfs", unix.ENOENT)
	errNoThreadFile = sys.Wrap("it shows the mounts of a process, and a thread has no such file", errors.ErrUnsupported)
)

// lookUp calls open, which looks name up in a place. Where that would lead to what this process
// has, and not the calling thread, lookUp calls open with another place and name. foreign are the
// types in which the thread may be elsewhere than this process.
func lookUp(foreign Type, from openPlace, name string, follow bool, open func(openPlace, string) (int, error)) (int, error) {
	if foreign == 0 {
		return open(from, name)
	}
	runtime.LockOSThread() // the thread that is found in procfs is also the one that opens
	defer runtime.UnlockOSThread()
	// No name leads to another namespace without a link of procfs, except to a file of procfs.
	fd, err := open(openPlace{from.fd, from.resolve | unix.RESOLVE_NO_MAGICLINKS}, name)
	switch {
	case errors.Is(err, errForbidden) && from.resolve == 0:
		return lookUpByText(foreign, from, name, open)
	case err == nil && !onProcfs(fd), err != nil && err != unix.ENOENT && err != unix.ELOOP:
		return fd, err
	}
	w := &walk{foreign: foreign, from: from, at: from.fd, follow: follow, slash: endsInDirectory(name), todo: elements(name)}
	defer w.leave()
	if strings.HasPrefix(name, "/") {
		w.path = "/"
	}
	werr := w.run()
	switch {
	case w.moved || werr != nil && (errors.Is(werr, errNoSelf) || errors.Is(werr, errNoThreadFile)):
		if err == nil {
			unix.Close(fd)
		}
		if werr != nil {
			return -1, werr
		}
		if w.slash {
			w.path += "/."
		}
		return open(openPlace{w.at, from.resolve}, w.path)
	case err == unix.ELOOP && from.resolve == 0:
		return open(from, name)
	}
	return fd, err
}

// lookUpByText is lookUp where a filter forbids openat2. It cannot go to the thread's directory, and
// refuses what seems to lead to the directory of this process.
func lookUpByText(foreign Type, from openPlace, name string, open func(openPlace, string) (int, error)) (int, error) {
	if namesOwn(name, foreign) {
		return -1, errForbidden
	}
	fd, err := open(from, name)
	if err != nil || !onProcfs(fd) {
		return fd, err
	}
	at, err := pathOf(fd)
	if err == nil && namesOwn(at, foreign) {
		err = errForbidden
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// namesOwn reports whether one of threadsFiles follows the name of this process in a path.
func namesOwn(path string, foreign Type) bool {
	before := ""
	for _, part := range elements(path) {
		if (before == "self" || before == strconv.Itoa(os.Getpid())) && threadsFiles[part]&foreign != 0 {
			return true
		}
		before = part
	}
	return false
}

func onProcfs(fd int) bool {
	var fsys unix.Statfs_t
	return unix.Fstatfs(fd, &fsys) == nil && int64(fsys.Type) == unix.PROC_SUPER_MAGIC
}

// walk is the look-up of a name. Each step asks the kernel, from the place where the walk began or
// was moved to. So RESOLVE_IN_ROOT holds for it, too.
type walk struct {
	foreign Type
	from    openPlace
	at      int      // the directory where path begins
	path    string   // what was looked up, without links
	todo    []string // what was not
	follow  bool     // also a link that is the last element
	slash   bool     // the last element must be a directory
	moved   bool     // to the directory of the thread
}

func (w *walk) run() error {
	for links := 0; len(w.todo) > 0; {
		part := w.todo[0]
		w.todo = w.todo[1:]
		if threadsFiles[part]&w.foreign != 0 && (len(w.todo) == 0 || w.todo[0] != "..") {
			if err := w.toThread(part); err != nil {
				return err
			}
		}
		next := w.below(part)
		last := len(w.todo) == 0
		text, isLink, err := w.link(next)
		switch {
		case err == unix.ENOENT && isLink && (part == "self" || part == "thread-self"):
			return errNoSelf
		case err != nil:
			w.stop(next) // open finds that, too, or makes the file
		case !isLink || last && !w.follow && !w.slash:
			w.path = next
		case !w.magic(next):
			if links++; links > mostLinks {
				return unix.ELOOP
			}
			w.todo = append(elements(text), w.todo...)
			w.slash = w.slash || last && endsInDirectory(text)
			if strings.HasPrefix(text, "/") {
				w.move(w.from.fd, "/")
			}
		case last && !w.slash, w.from.resolve&unix.RESOLVE_NO_MAGICLINKS != 0:
			w.stop(next) // open follows it, or refuses it
		default:
			fd, err := openat2(w.at, next, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY})
			if err != nil {
				return err
			}
			w.move(fd, "")
		}
	}
	if w.path == "" {
		w.path = "."
	}
	return nil
}

// stop leaves the rest to open.
func (w *walk) stop(next string) {
	w.path, w.todo = strings.Join(append([]string{next}, w.todo...), "/"), nil
}

// mostLinks is MAXSYMLINKS of the kernel.
const mostLinks = 40

// link reads a link.
func (w *walk) link(path string) (text string, is bool, err error) {
	fd, err := w.open(path, unix.O_NOFOLLOW)
	if err != nil {
		return "", false, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", false, err
	}
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", b)
	return string(b[:max(n, 0)]), true, err
}

// magic reports whether a link leads to a file that its text does not tell.
func (w *walk) magic(path string) bool {
	fd, err := w.open(path, unix.O_NOFOLLOW)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if !onProcfs(fd) {
		return false
	}
	to, err := w.open(path, 0)
	if err == nil {
		unix.Close(to)
	}
	return err == unix.ELOOP
}

func (w *walk) open(path string, flag uint64) (int, error) {
	return openat2(w.at, path, &unix.OpenHow{Flags: unix.O_PATH | flag, Resolve: w.from.resolve | unix.RESOLVE_NO_MAGICLINKS})
}

func (w *walk) below(part string) string {
	switch w.path {
	case "":
		return part
	case "/":
		return "/" + part
	}
	return w.path + "/" + part
}

// move goes on elsewhere. The walk owns fd, unless it began there.
func (w *walk) move(fd int, path string) {
	w.leave()
	w.at, w.path = fd, path
}

func (w *walk) leave() {
	if w.at != w.from.fd {
		unix.Close(w.at)
	}
}

// toThread moves to the directory of the calling thread, from the directory of this process.
func (w *walk) toThread(file string) error {
	dir, err := w.open(w.below("."), unix.O_DIRECTORY)
	if err != nil {
		return nil // what is looked up in it is not there, either
	}
	defer unix.Close(dir)
	thread := threadIn(dir)
	if thread < 0 {
		return nil
	}
	if file == noThreadHas {
		defer unix.Close(thread)
		ours, err := procfs.NSInode(thread, "ns/mnt")
		if its, ierr := procfs.NSInode(dir, "ns/mnt"); err == nil && ierr == nil && its == ours {
			return nil
		}
		return errNoThreadFile
	}
	w.move(thread, "")
	w.moved = true
	return nil
}

// threadIn opens the directory of the calling thread, if dir is the directory of this process. It
// is -1 for other directories.
func threadIn(dir int) int {
	if !onProcfs(dir) {
		return -1
	}
	if root, err := openat2(dir, "..", &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY}); err == nil {
		defer unix.Close(root)
		if thread := threadBelow(root, dir); thread >= 0 {
			return thread
		}
	}
	// It may be a mount of its own. Then ".." leads out of the procfs.
	thread := -1
	if root, err := procfs.Root(); err == nil {
		defer root.Close()
		_ = sys.OnFD(root, func(fd int) error {
			thread = threadBelow(fd, dir)
			return nil
		})
	}
	return thread
}

func threadBelow(root, dir int) int {
	var is, self, top unix.Stat_t
	if !onProcfs(root) || unix.Fstat(root, &top) != nil || top.Ino != 1 || unix.Fstat(dir, &is) != nil ||
		unix.Fstatat(root, "self", &self, 0) != nil || self.Dev != is.Dev || self.Ino != is.Ino {
		return -1
	}
	thread, err := openat2(root, "thread-self", &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return -1
	}
	return thread
}

// elements are the elements of a path, without those that mean nothing.
func elements(path string) (parts []string) {
	for part := range strings.SplitSeq(path, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

// endsInDirectory reports whether a path says that it means a directory.
func endsInDirectory(path string) bool {
	return strings.HasSuffix(path, "/") || strings.HasSuffix(path, "/.") || path == "."
}
