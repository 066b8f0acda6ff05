package gonso

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// A file that was found with O_PATH is opened without its name. How depends on the process that
// opens it.

// reopener opens the file or directory of a descriptor that was opened with O_PATH.
type reopener func(fd, flag int) (int, error)

// reopen is for threads of this program, in any mount namespace.
func reopen(fd, flag int) (int, error) {
	nfd, err := procfs.Reopen(fd, flag&^unix.O_NOFOLLOW|unix.O_LARGEFILE)
	var pe *os.PathError // its path would mean nothing to the caller
	if errors.As(err, &pe) && pe.Err != nil && !errors.Is(err, procfs.ErrForeign) {
		err = pe.Err
	}
	return nfd, err
}

// reopenAlone is for workers, whose only procfs may be somebody else's. It opens a directory from
// itself. It mounts a file in a mount namespace of one thread, where nobody else can reach it, and
// opens it there.
func reopenAlone(fd, flag int) (int, error) {
	flag &^= unix.O_NOFOLLOW
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return openat2(fd, ".", &unix.OpenHow{Flags: uint64(flag)})
	}
	alone := func(err error) (int, error) {
		return -1, fmt.Errorf("the worker cannot mount it for itself alone: %w", err)
	}
	tree, err := unix.OpenTree(fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return alone(os.NewSyscallError("open_tree", err))
	}
	defer unix.Close(tree)
	c := newCore()
	defer c.release()
	opened, oerr := -1, error(nil)
	rerr := c.runOnThread(context.Background(), nil, func(r *threadRun) bool {
		r.entered |= Mount
		var dir int
		if dir, err = mountAlone(tree); err == nil {
			defer unix.Close(dir)
			opened, oerr = openat2(dir, onlyFile, &unix.OpenHow{Flags: uint64(flag), Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH})
		}
		return false // the thread ends, and its mount namespace with it
	}, func() {
		if opened >= 0 {
			unix.Close(opened)
		}
	})
	if rerr != nil {
		return alone(rerr)
	}
	if err != nil {
		return alone(err)
	}
	return opened, oerr
}

// onlyFile is the name of the only file in a directory of mountAlone, and of newDevpts.
const onlyFile = "ptmx"

// mountAlone mounts the file that is the whole tree, in a new mount namespace of the calling
// thread, which must have no other work. It returns the directory that has the file.
func mountAlone(tree int) (dir int, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return -1, os.NewSyscallError("unshare", err)
	}
	// No mount here goes to the mount namespace from which this one was copied.
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE, ""); err != nil {
		return -1, os.NewSyscallError("mount", err)
	}
	if dir, err = newDevpts(); err != nil {
		return -1, err
	}
	const from = unix.MOVE_MOUNT_F_EMPTY_PATH
	if err = unix.MoveMount(dir, "", unix.AT_FDCWD, "/", from); err == nil {
		err = unix.MoveMount(tree, "", dir, onlyFile, from)
	}
	if err != nil {
		unix.Close(dir)
		return -1, os.NewSyscallError("move_mount", err)
	}
	return dir, nil
}

// newDevpts mounts a devpts, and attaches it nowhere yet. A new devpts has a file already, on which
// another file can be mounted. This matters to a user whose ids are not mapped, and who can make no
// files. Root of every user namespace may mount a devpts.
func newDevpts() (int, error) {
	fs, err := unix.Fsopen("devpts", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("fsopen", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, os.NewSyscallError("fsconfig", err)
	}
	dir, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	return dir, os.NewSyscallError("fsmount", err)
}

// openat2 is unix.Openat2, close-on-exec and not interrupted by the runtime's signals.
func openat2(dirfd int, name string, how *unix.OpenHow) (int, error) {
	how.Flags |= unix.O_CLOEXEC
	if how.Flags&unix.O_PATH == 0 {
		how.Flags |= unix.O_LARGEFILE
	}
	for moved := 0; ; {
		fd, err := unix.Openat2(dirfd, name, how)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN && how.Resolve&unix.RESOLVE_IN_ROOT != 0 && moved < mostMoved:
			moved++
		case err != unix.EPERM && err != unix.ENOSYS || !openat2Forbidden(err):
			return fd, err
		case how.Resolve == 0: // open(2) can do the same
			return sys.Openat(dirfd, name, int(how.Flags), uint32(how.Mode))
		default:
			return -1, fmt.Errorf("%w: %w", err, errForbidden)
		}
	}
}

var errForbidden = errors.New("a filter of system calls (seccomp) forbids openat2, without which links could lead elsewhere")

// openat2Forbidden reports whether openat2 fails with err for every argument. The kernel itself
// would say that the descriptor -1 is not open.
func openat2Forbidden(err error) bool {
	_, again := unix.Openat2(-1, "x", &unix.OpenHow{Flags: unix.O_PATH})
	return again == err
}

// mostMoved is how often gonso tries a name with ".." again below a root. openat2(2) answers EAGAIN
// while any process renames or mounts files anywhere.
const mostMoved = 128
