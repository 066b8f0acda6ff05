package sys

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Take gives the calling thread its own root, working directory and umask. With Whole it changes
// those of the process. A thread that has its own must end: it cannot share them with the other
// threads again.
func (p Place) Take() error {
	if p == (Place{}) {
		return nil
	}
	if !p.Whole {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return os.NewSyscallError("unshare", err)
		}
	}
	if p.Root != nil {
		// In a worker, the file has another name.
		if err := OnFD(p.Root, unix.Fchdir); err != nil {
			return fmt.Errorf("%s: %w", "Root", os.NewSyscallError("fchdir", err))
		}
		if err := unix.Chroot("."); err != nil {
			return fmt.Errorf("%s: %w", "Root", os.NewSyscallError("chroot", err))
		}
	}
	if p.Dir != "" {
		if err := p.chdir(); err != nil {
			return fmt.Errorf("%s: %w", "Dir", &os.PathError{Op: "chdir", Path: p.Dir, Err: err})
		}
	}
	if p.DirFile != nil {
		if err := p.fchdir(); err != nil {
			return fmt.Errorf("%s: %w", "DirFile", err)
		}
	}
	if p.HasUmask {
		unix.Umask(int(p.Umask))
	}
	return nil
}

// fchdir changes to DirFile. If the thread has its own root, or somebody else's mounts, fchdir refuses
// a directory that these do not lead to: from there ".." goes on to everything above it.
func (p Place) fchdir() error {
	if err := OnFD(p.DirFile, unix.Fchdir); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	if p.Root == nil && !p.Theirs {
		return nil
	}
	// If the directory is not below the root of the thread in its mounts, the kernel's answer
	// begins with "(unreachable)" (getcwd(2)). Package unix makes ENOENT of this.
	_, err := unix.Getwd()
	if err == nil {
		return nil
	}
	if cerr := unix.Chdir("/"); cerr != nil {
		return os.NewSyscallError("chdir", cerr)
	}
	if err != unix.ENOENT {
		return os.NewSyscallError("getcwd", err)
	}
	where := "in the mount namespace, or was removed"
	if p.Root != nil {
		where = "below the Root, or was removed"
	}
	return fmt.Errorf("the directory is not %s: %w", where, os.ErrPermission) // in a worker, the file has another name
}

func (p Place) chdir() error {
	if !p.Theirs {
		return unix.Chdir(p.Dir)
	}
	fd, err := unix.Openat2(unix.AT_FDCWD, p.Dir, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Fchdir(fd)
}
