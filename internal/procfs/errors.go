package procfs

import (
	"errors"
	"io/fs"
)

// ErrForeign says that an id means another process in the mounted /proc, or no process.
var ErrForeign = errors.New("gonso: a procfs of another pid namespace is mounted on /proc")

// ErrNone says that nothing on /proc is a procfs. It matches fs.ErrNotExist.
var ErrNone error = noProcfs{}

type noProcfs struct{}

func (noProcfs) Error() string        { return "no procfs is mounted on /proc" }
func (noProcfs) Is(target error) bool { return target == fs.ErrNotExist }
