package child

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/wire"
)

// TakePlace gives the calling thread root, working directory and umask of its
// own, or with Whole the process. A thread that was given them has to end: they
// cannot be shared with the others again. root is where p.Root is set.
func TakePlace(p wire.Place, root *os.File) error {
	if p == (wire.Place{}) {
		return nil
	}
	if !p.Whole {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return os.NewSyscallError("unshare", err)
		}
	}
	if p.Root {
		if err := root.Chdir(); err != nil {
			return err
		}
		if err := unix.Chroot("."); err != nil {
			return &os.PathError{Op: "chroot", Path: root.Name(), Err: err}
		}
	}
	if p.Dir != "" {
		if err := unix.Chdir(p.Dir); err != nil {
			return &os.PathError{Op: "chdir", Path: p.Dir, Err: err}
		}
	}
	if p.HasUmask {
		unix.Umask(int(p.Umask))
	}
	return nil
}
