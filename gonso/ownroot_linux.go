package gonso

import (
	"context"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// This file is for programs in a chroot. setns(2) moves a thread to the root of the mount namespace
// that it enters (mntns_install in fs/namespace.c). In a copy of the program's mount namespace this
// is the host's root, and not the program's. So the program's root becomes the root of a new mount
// namespace.

// rootIdentity tells the root directories of threads apart.
type rootIdentity struct {
	mount, ino   uint64
	major, minor uint32
}

func ownRoot() (r rootIdentity, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, "/", 0, unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return r, err
	}
	return rootIdentity{st.Mnt_id, st.Ino, st.Dev_major, st.Dev_minor}, nil
}

// lastRoot is the last result of rootElsewhere.
var lastRoot struct {
	sync.Mutex
	root      rootIdentity
	known     bool
	elsewhere bool
}

// rootElsewhere reports whether this program's root is not the root of its mount namespace.
func rootElsewhere() bool {
	c := newCore()
	defer c.release()
	elsewhere := false
	_ = c.runOnThread(context.Background(), nil, func(r *threadRun) bool {
		own, err := ownRoot()
		if err != nil {
			return true
		}
		lastRoot.Lock()
		defer lastRoot.Unlock()
		if lastRoot.known && lastRoot.root == own {
			elsewhere = lastRoot.elsewhere
			return true
		}
		r.entered |= Mount
		if unix.Unshare(unix.CLONE_FS) != nil || !enterHome(Mount.index()) {
			return false // a thread that may not do this cannot make a mount namespace, either
		}
		top, err := ownRoot()
		elsewhere = err == nil && top != own
		lastRoot.root, lastRoot.known, lastRoot.elsewhere = own, err == nil, elsewhere
		return false
	}, nil)
	return elsewhere
}

// bringRoot is for a thread in a new copy of this program's mount namespace. It makes the thread's
// root, with all mounts below, the root of that namespace, and sets its propagation.
func bringRoot(flags uintptr) error {
	call := os.NewSyscallError
	tree, err := unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return call("open_tree", err)
	}
	defer unix.Close(tree)
	mnt, err := procfs.Link("thread-self/ns/mnt", unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(mnt)
	if err := unix.Setns(mnt, unix.CLONE_NEWNS); err != nil {
		return call("setns", err)
	}
	// No change here goes to the mount namespace from which this one was copied. Its unmounts still
	// arrive here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return call("mount", err)
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, "/", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return call("move_mount", err)
	}
	if err := unix.Fchdir(tree); err != nil {
		return call("fchdir", err)
	}
	if flags != 0 {
		if err := unix.Mount("", ".", "", flags, ""); err != nil {
			return call("mount", err)
		}
	}
	// A thread that enters comes to the mount on top. The mounts below are removed if the kernel
	// allows that: pivot_root(2) refuses shared mounts and the first root of a system.
	err = unix.PivotRoot(".", ".")
	switch {
	case err == nil:
		err = call("umount", unix.Unmount(".", unix.MNT_DETACH))
	case err == unix.EINVAL:
		err = call("setns", unix.Setns(mnt, unix.CLONE_NEWNS))
	default:
		err = call("pivot_root", err)
	}
	if err != nil {
		return err
	}
	return call("chdir", unix.Chdir("/"))
}

var errChrooted = sys.Wrap("this program is in a chroot, and work inside would have the root of the mount namespace that it is in", errors.ErrUnsupported)

// unshareInChroot makes namespaces with the launcher, except the mount namespace, which a thread
// makes first.
func (c *core) unshareInChroot(types, base Type, o *unshareOptions) (*core, error) {
	if base&User != 0 {
		return nil, newError("unshare", Mount, "", errChrooted).
			withHint("make the mount namespace outside of the user namespace, or open one along with it, as FromPID does")
	}
	mount := *o
	mount.fresh, mount.loopbackUp = nil, false
	mnt, err := c.unshareOnThread(Mount, 0, &mount)
	if err != nil {
		return nil, err
	}
	defer mnt.release()
	in := c.pick(c.types, mnt)
	defer in.release()
	rest, err := in.create(types&^Mount, base|Mount, o)
	if err != nil {
		return nil, err
	}
	defer rest.release()
	return rest.pick(rest.types, mnt), nil
}
