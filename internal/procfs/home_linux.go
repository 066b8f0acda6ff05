package procfs

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// homeMount is the mnt namespace that this process was started in. It is zero if this is not known.
var homeMount = func() uint64 {
	ino, err := NSInode(int(held.fd.Load()), "thread-self/ns/mnt")
	if err != nil {
		return 0
	}
	return ino
}()

// NSInode is the inode number of the namespace that a link below a directory of procfs leads to. No
// two namespaces have the same number, even if their types differ. The link is read and not
// followed: to follow it takes three times as long, because the kernel would have to make the
// inode.
func NSInode(dirfd int, link string) (uint64, error) {
	var text [64]byte // "cgroup:[4026531835]"
	n, err := unix.Readlinkat(dirfd, link, text[:])
	for err == unix.EINTR {
		n, err = unix.Readlinkat(dirfd, link, text[:])
	}
	if err != nil {
		return 0, err
	}
	if n == 0 { // as in package nsfs: some releases of Linux 5.10 give an empty link in place of an error
		return 0, unix.EACCES
	}
	_, number, _ := strings.Cut(string(text[:n]), ":[")
	ino, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
	if err != nil {
		return 0, unix.EINVAL
	}
	return ino, nil
}

// Away reports whether paths mean something else on the calling thread than to this process: the
// thread is in another mnt namespace, or has its own root directory.
func Away() bool {
	fd, err := held.get()
	if err != nil {
		return true // nothing is known, so it may be
	}
	if mnt, err := NSInode(fd, "thread-self/ns/mnt"); err != nil || mnt != homeMount {
		return homeMount != 0
	}
	var root, ours unix.Stat_t
	err = unix.Stat("/", &root) // path: the root itself
	if err == nil {
		err = unix.Fstatat(fd, "self/root", &ours, 0)
	}
	return err == nil && (root.Dev != ours.Dev || root.Ino != ours.Ino)
}

// AtHome runs f on a thread where paths mean what they mean to this process, and lead to nobody
// else's files. It is the calling thread, or another thread if that one is [Away]. f must not
// panic.
func AtHome(f func()) {
	if Away() {
		onFresh(f)
		return
	}
	f()
}

// onFresh runs f on a goroutine that nobody has locked to a thread. Code that enters foreign
// namespaces locks its thread. So this goroutine's thread is in no foreign namespace.
func onFresh(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// Executable says why a child would not find its executable by a path below /proc/self/fd on the
// calling thread.
func Executable() error {
	var fsys unix.Statfs_t
	if err := unix.Statfs("/proc", &fsys); err != nil {
		return noneOr("statfs", err)
	}
	if int64(fsys.Type) != unix.PROC_SUPER_MAGIC {
		return ErrNone
	}
	var st unix.Stat_t
	if unix.Stat("/proc/self/fd", &st) == unix.ENOENT {
		return ErrForeign
	}
	return nil
}

// Visible says why another program would not find the process of a Dir at /proc/ID.
func Visible() error {
	fd, err := held.get()
	if err != nil {
		return err
	}
	var there, here unix.Stat_t
	if unix.Stat("/proc", &there) != nil || unix.Fstat(fd, &here) != nil || there.Dev != here.Dev || there.Ino != here.Ino {
		return errOther
	}
	return nil
}

var errOther = errors.New("something else is mounted on /proc now than when this program was started")

// Unmount unmounts, lazily, the mount that a descriptor is on. umount(2) takes a path. The path is
// relative to our procfs. The thread that makes the call is in the calling thread's namespaces, and
// ends afterwards.
func Unmount(fd int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	mnt, err := Link("thread-self/ns/mnt", unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(mnt)
	var st unix.Stat_t
	if err := unix.Fstat(mnt, &st); err != nil {
		return err
	}
	done := make(chan error, 1)
	var run func()
	run = func() {
		sys.LockThread() // and not unlocked
		if sys.OnMainThread() {
			sys.GoElsewhere(run)
			return
		}
		done <- unmountIn(mnt, st, fd)
	}
	go run()
	return <-done
}

func unmountIn(mnt int, st unix.Stat_t, fd int) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if st.Ino != homeMount {
		if err := unix.Setns(mnt, unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("setns: %w", err)
		}
	}
	dir, err := Open("thread-self/fd", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Fchdir(dir); err != nil {
		return fmt.Errorf("fchdir: %w", err)
	}
	return unix.Unmount(strconv.Itoa(fd), unix.MNT_DETACH)
}
