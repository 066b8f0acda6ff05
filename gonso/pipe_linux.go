package gonso

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// pipeSize lets each side of a pipe wait for the other a quarter as often as the
// default does. A goroutine that is locked to its thread pays for each wait with
// two threads that wake each other; still larger pipes gain nothing, and leave the
// processor's cache.
const pipeSize = 256 << 10

// widen makes those of the files that are pipes of the default size, or smaller
// ones, larger until restore is called. Where this user has too much in pipes
// already (pipe(7)), they stay as they are.
func widen(files []*os.File) (restore func()) {
	if len(files) == 0 {
		return func() {}
	}
	was := make(map[*os.File]int)
	for _, f := range files {
		size := pipeControl(f, unix.F_GETPIPE_SZ, 0) // fails for what is no pipe
		if size > 0 && size < pipeSize && pipeControl(f, unix.F_SETPIPE_SZ, pipeSize) > 0 {
			was[f] = size
		}
	}
	return func() {
		for f, size := range was {
			pipeControl(f, unix.F_SETPIPE_SZ, size) // fails while there is more in it
		}
	}
}

func pipeControl(f *os.File, cmd, arg int) (n int) {
	if sys.OnFD(f, func(fd int) (err error) {
		n, err = unix.FcntlInt(uintptr(fd), cmd, arg)
		return err
	}) != nil {
		return -1
	}
	return n
}
