package procfs

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// homeMount is the mnt namespace that this process was started in, zero if that is unknown.
var homeMount = func() uint64 {
	ino, err := NSInode(int(held.fd.Load()), "thread-self/ns/mnt")
	if err != nil {
		return 0
	}
	return ino
}()

// NSInode is the inode number of the namespace that a link of procfs, below one of its directories, leads to. No two
// namespaces have the same one, of whatever types. The link is read and not followed, for which the kernel would have to
// make the inode: that takes three times as long.
func NSInode(dirfd int, link string) (uint64, error) {
	var text [64]byte // "cgroup:[4026531835]"
	n, err := unix.Readlinkat(dirfd, link, text[:])
	for err == unix.EINTR {
		n, err = unix.Readlinkat(dirfd, link, text[:])
	}
	if err != nil {
		return 0, err
	}
	_, number, _ := strings.Cut(string(text[:n]), ":[")
	ino, err := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
	if err != nil {
		return 0, unix.EINVAL
	}
	return ino, nil
}

// Away reports whether paths mean something else on the calling thread than to this process: it is
// in another mnt namespace, or has a root directory of its own.
func Away() bool {
	fd, err := held.get()
	if err != nil {
		return true // for all that is known
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

// AtHome runs f where paths mean what they mean to this process, and the files that it looks up are
// nobody else's: on the calling thread, unless that is [Away], else on another. f must not panic.
func AtHome(f func()) {
	if Away() {
		onFresh(f)
		return
	}
	f()
}

// onFresh runs f on a goroutine that nobody has locked to a thread. Code that enters foreign
// namespaces locks its thread, so this one is in none.
func onFresh(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

// Executable says why no child would find its executable by a path below /proc/self/fd, as the
// calling thread has it.
func Executable() error {
	var fsys unix.Statfs_t
	if unix.Statfs("/proc", &fsys) != nil || int64(fsys.Type) != unix.PROC_SUPER_MAGIC {
		return ErrNone
	}
	var st unix.Stat_t
	if unix.Stat("/proc/self/fd", &st) == unix.ENOENT {
		return ErrForeign
	}
	return nil
}

// Visible says why another program would not find at /proc/ID what a Dir of that ID is.
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

// Unmount unmounts, lazily, the mount that a descriptor is on. umount(2) takes a path: it is given one
// relative to our procfs, on a thread that is where the calling one is and ends afterwards.
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
	go func() { done <- unmountIn(mnt, st, fd) }()
	return <-done
}

func unmountIn(mnt int, st unix.Stat_t, fd int) error {
	runtime.LockOSThread() // and not unlocked
	if unix.Gettid() == unix.Getpid() {
		done := make(chan error, 1)
		go func() { done <- unmountIn(mnt, st, fd) }() // elsewhere: this keeps the main thread busy
		defer runtime.UnlockOSThread()
		return <-done
	}
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
