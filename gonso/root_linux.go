package gonso

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// checkRoot refuses a Root in which no work can be. It asks no file system, which might not answer.
func (c *doConfig) checkRoot() error {
	if c.place.Root == nil {
		return nil
	}
	var st unix.Statx_t
	err := sys.OnFD(c.place.Root, func(fd int) error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE, &st)
	})
	switch {
	case errors.Is(err, os.ErrClosed):
	case err != nil:
		return nil // it is for those to say who go there
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		err = unix.ENOTDIR
	default:
		return nil
	}
	return about("Root", &os.PathError{Op: "chroot", Path: c.place.Root.Name(), Err: err})
}
