package gonso

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/wire"
)

// A thread or process that enters a mount namespace is in its root directory. So relative paths
// would begin there, without an error. gonso lets them begin where they begin outside, or refuses
// them.

// keepsDir reports whether the mount namespace is a copy of this program's, so that the path of the
// working directory means the same directory inside.
func (c *core) keepsDir() bool { return c.copied && c.foreign&Mount != 0 && !c.exposes(c.foreign) }

// beginning is the directory where a relative path begins inside. It is "" if that needs no change.
func (c *core) beginning(path string) (dir string, err error) {
	switch {
	case c.foreign&Mount == 0, path == "", filepath.IsAbs(path):
		return "", nil
	case !c.keepsDir():
		return "", fmt.Errorf("%.100q is no absolute path, and in namespaces that somebody else made it begins nowhere: %w", path, os.ErrInvalid)
	}
	if dir, err = workingDir(); err != nil {
		return "", fmt.Errorf("%.100q begins at the working directory: %w", path, err)
	}
	return dir, nil
}

func workingDir() (dir string, err error) {
	procfs.AtHome(func() { dir, err = os.Getwd() })
	return dir, err
}

// absolute is the path of an option, as it is looked up inside.
func (c *core) absolute(option, path string) (string, error) {
	dir, err := c.beginning(path)
	switch {
	case err != nil:
		return "", about(option, err)
	case dir == "":
		return path, nil
	case len(dir)+1+len(path) > wire.MaxDir:
		return "", about(option, fmt.Errorf("%.100q below %.100q: %w", path, dir, unix.ENAMETOOLONG))
	}
	return dir + "/" + path, nil // not cleaned: ".." after a link is the parent of the link's target
}

// beginning is core.beginning.
func (s *Set) beginning(op, path string) (dir string, err error) {
	c, err := s.acquire(op)
	if err != nil {
		return "", err
	}
	defer c.release()
	return c.beginning(path)
}
