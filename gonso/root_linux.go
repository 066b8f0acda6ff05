package gonso

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// checkDirectories refuses a Root or a DirFile in which work must not run.
func (c *doConfig) checkDirectories() error {
	if err := checkDirectory("Root", "chroot", c.place.Root); err != nil {
		return err
	}
	return checkDirectory("DirFile", "chdir", c.place.DirFile)
}

// checkDirectory refuses a file that is no directory. It asks no file system, because a file system
// might not answer.
func checkDirectory(option, op string, dir *os.File) error {
	if dir == nil {
		return nil
	}
	var st unix.Statx_t
	err := sys.OnFD(dir, func(fd int) error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st)
	})
	switch {
	case errors.Is(err, os.ErrClosed):
	case err != nil:
		return nil // the process that enters the directory will return the error
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		err = unix.ENOTDIR
	default:
		return nil
	}
	return about(option, &os.PathError{Op: op, Path: dir.Name(), Err: err})
}

// refuseHostDir refuses a working directory on one of this program's mounts, if somebody else could
// see a process that works in it: from there ".." leads to all of the host's files
// (CVE-2024-21626). Other directories outside of the Set's mount namespace are found by the process
// that enters them.
func (c *core) refuseHostDir(option string, dir *os.File) error {
	if dir == nil || c.opened&Mount == 0 {
		return nil
	}
	ours, err := isOurMount(dir)
	if err == nil && ours {
		err = errHostDir
	}
	if err != nil {
		return about(option, fmt.Errorf("%s: %w", dir.Name(), err))
	}
	return nil
}

var errHostDir = sys.Wrap("it is in this program's own mount namespace, and in the Set, whose mount namespace somebody else made, all of the "+
	"host's files could be reached from there; open it with Set.OpenFile", os.ErrPermission)

// isOurMount reports whether a file is on one of this program's mounts.
func isOurMount(f *os.File) (ours bool, err error) {
	err = sys.OnFD(f, func(fd int) error {
		value, err := procfs.FDInfo(fd, "mnt_id")
		if err != nil {
			return err
		}
		id, err := strconv.Atoi(value)
		if err != nil {
			return err
		}
		// The mounts of the main thread, because it never enters a Set.
		b, err := procfs.ReadFile("self/mountinfo", maxEvidence)
		if err != nil {
			return err
		}
		for _, m := range parseMountinfo(b) {
			ours = ours || m.id == id
		}
		return nil
	})
	return ours, err
}
