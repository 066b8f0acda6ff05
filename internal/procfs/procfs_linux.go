package procfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// rootIno is the inode number of the root of every procfs (PROC_ROOT_INO).
const rootIno = 1

// root is the procfs. Its descriptor is not an os.File: an os.File would close the number even
// after the program has closed it and opened another file under that number.
type root struct {
	mu     sync.Mutex
	fd     atomic.Int64 // -1 if there is no descriptor
	dev    uint64       // of the procfs; 0 as long as there is no procfs
	nested atomic.Int32 // 0 unknown, 1 of this process's pid namespace, 2 of one above it
}

// held is the file system on /proc at package init, when this process had not entered any
// namespace.
var held = func() *root {
	r := new(root)
	r.fd.Store(-1)
	if fd, dev, err := openRoot(); err == nil {
		r.dev = dev
		r.fd.Store(int64(fd))
	}
	return r
}()

// openRoot opens the calling thread's /proc, if it is the root of a procfs.
func openRoot() (fd int, dev uint64, err error) {
	fd, err = sys.Openat(unix.AT_FDCWD, "/proc", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, 0, noneOr("open", err)
	}
	var fsys unix.Statfs_t
	var st unix.Stat_t
	if err = unix.Fstatfs(fd, &fsys); err != nil {
		err = noneOr("fstatfs", err)
	} else if err = unix.Fstat(fd, &st); err != nil {
		err = noneOr("fstat", err)
	} else if int64(fsys.Type) != unix.PROC_SUPER_MAGIC || st.Ino != rootIno {
		err = ErrNone
	}
	if err != nil {
		unix.Close(fd)
		return -1, 0, err
	}
	return fd, uint64(st.Dev), nil
}

// noneOr is ErrNone if there is no such directory, and else the error of the call about it.
func noneOr(op string, err error) error {
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return ErrNone
	}
	return &fs.PathError{Op: op, Path: "/proc", Err: err}
}

// get returns the descriptor, after it has checked it again: the program may have closed it, and
// the number may be another file's.
func (r *root) get() (int, error) {
	fd := int(r.fd.Load())
	if fd >= 0 && r.is(fd) {
		return fd, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if fd = int(r.fd.Load()); fd >= 0 && r.is(fd) {
		return fd, nil
	}
	var err error
	onFresh(func() {
		var dev uint64
		fd, dev, err = openRoot()
		switch {
		case err != nil:
		case r.dev == 0: // the program has mounted it since then
			r.dev = dev
		case r.dev != dev:
			unix.Close(fd)
			err = errLost
		}
	})
	if err != nil {
		return -1, err
	}
	r.fd.Store(int64(fd))
	return fd, nil
}

var errLost = errors.New("this program has closed gonso's descriptor of /proc, and another procfs is mounted there now")

// is reports whether fd is the root of the procfs.
func (r *root) is(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && uint64(st.Dev) == r.dev && st.Ino == rootIno
}

// beneath opens a file of a procfs. It follows no magic link out of the procfs, and nothing may be
// mounted on the way. Mounts that containers make on /proc/sys are of the same procfs.
func beneath(dirfd int, dev uint64, name string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	if !strings.HasPrefix(name, "sys/") {
		how.Resolve |= unix.RESOLVE_NO_XDEV
	}
	fd, err := unix.Openat2(dirfd, name, &how)
	for err == unix.EINTR || err == unix.EAGAIN {
		fd, err = unix.Openat2(dirfd, name, &how)
	}
	crosses := how.Resolve&unix.RESOLVE_NO_XDEV == 0
	if err == unix.ENOSYS || err == unix.EPERM { // a filter of system calls may forbid openat2
		fd, err = sys.Openat(dirfd, name, flags, 0)
		crosses = true
	}
	if err != nil || !crosses {
		return fd, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && uint64(st.Dev) != dev {
		err = unix.EXDEV
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// Open opens a file or directory, named as below /proc: "thread-self/ns". Only ids of [Process] are
// valid in a name.
func Open(name string, flags int) (int, error) {
	dir, err := held.get()
	fd := -1
	if err == nil {
		fd, err = beneath(dir, held.dev, name, flags)
	}
	if err != nil {
		return -1, held.explain(dir, name, err)
	}
	return fd, nil
}

// Root returns a descriptor of the procfs, opened with O_PATH, for a child that opens its own files
// there: "self" is the process that looks it up. The descriptor belongs to the caller.
func Root() (*os.File, error) {
	dir, err := held.get()
	if err != nil {
		return nil, err
	}
	fd, err := sys.Openat(dir, ".", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: "/proc", Err: err}
	}
	return os.NewFile(uintptr(fd), "/proc"), nil
}

// explain says why self is missing.
func (r *root) explain(dir int, name string, err error) error {
	first, _, _ := strings.Cut(name, "/")
	if err == unix.ENOENT && (first == "self" || first == "thread-self") {
		var st unix.Stat_t
		if unix.Fstatat(dir, "self/stat", &st, 0) == unix.ENOENT {
			err = ErrForeign
		}
	}
	return &fs.PathError{Op: "open", Path: "/proc/" + name, Err: err}
}

// Link opens the target of a magic link: "thread-self/fd/5".
func Link(name string, flags int) (int, error) {
	// Another thread may have ended by the time that its directory is used.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	i := strings.LastIndexByte(name, '/')
	dir, err := Open(name[:i], unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	defer unix.Close(dir)
	fd, err := sys.Openat(dir, name[i+1:], flags, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: "/proc/" + name, Err: err}
	}
	return fd, nil
}

// Reopen opens a descriptor's file once more, with other flags.
func Reopen(fd, flags int) (int, error) { return Link("thread-self/fd/"+strconv.Itoa(fd), flags) }

// ReadFile reads a file of at most limit bytes.
func ReadFile(name string, limit int64) (string, error) {
	runtime.LockOSThread() // as in Link
	defer runtime.UnlockOSThread()
	fd, err := Open(name, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	return readAll(fd, "/proc/"+name, limit)
}

// Names lists a directory.
func Names(name string) ([]string, error) {
	fd, err := Open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	dir := os.NewFile(uintptr(fd), "/proc/"+name)
	defer dir.Close()
	return dir.Readdirnames(-1)
}

// readAll takes fd over.
func readAll(fd int, path string, limit int64) (string, error) {
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it has more than %d bytes", limit)}
	}
	return string(b), err
}

// above reports whether the procfs is of a pid namespace above this process's own.
func (r *root) above() (bool, error) {
	if n := r.nested.Load(); n != 0 {
		return n == 2, nil
	}
	status, err := ReadFile("self/status", maxStatus)
	if errors.Is(err, fs.ErrPermission) {
		return false, fmt.Errorf("/proc/self/status, which says what the ids in /proc mean: %w", reason(err))
	}
	if err != nil {
		return false, reason(err)
	}
	ids, err := nsPIDs(status)
	if err != nil {
		return false, err
	}
	if ids[len(ids)-1] != os.Getpid() {
		return false, ErrForeign
	}
	if len(ids) == 1 {
		r.nested.Store(1)
	} else {
		r.nested.Store(2)
	}
	return len(ids) > 1, nil
}

// reason is an error without the path: no caller has named that path.
func reason(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// maxStatus is far more than a status file has.
const maxStatus = 1 << 20

// nsPIDs are the ids of a process from the pid namespace of the procfs down to its own.
func nsPIDs(status string) ([]int, error) {
	_, rest, ok := strings.Cut(status, "\nNSpid:")
	line, _, _ := strings.Cut(rest, "\n")
	var ids []int
	for _, f := range strings.Fields(line) {
		id, err := strconv.Atoi(f)
		if err != nil {
			return nil, fmt.Errorf("NSpid in /proc/self/status: %w", err)
		}
		ids = append(ids, id)
	}
	if !ok || len(ids) == 0 {
		return nil, errors.New("no NSpid in /proc/self/status")
	}
	return ids, nil
}
