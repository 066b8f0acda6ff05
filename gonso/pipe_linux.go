package gonso

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// pipeSize is four times the default, so that the sides of a pipe wait for each other a quarter as
// often. If a goroutine is locked to its thread, each wait costs two threads that wake each other.
// Larger pipes gain nothing, because they do not fit into the processor's cache.
const pipeSize = 256 << 10

// widen makes pipes among the files larger, if they are smaller than pipeSize, until restore is
// called. They keep their size if the user has too much memory in pipes already (pipe(7)).
func widen(files []*os.File) (restore func()) {
	if len(files) == 0 {
		return func() {}
	}
	was := make(map[*os.File]int)
	for _, f := range files {
		size := pipeControl(f, unix.F_GETPIPE_SZ, 0) // fails for a file that is no pipe
		if size > 0 && size < pipeSize && pipeControl(f, unix.F_SETPIPE_SZ, pipeSize) > 0 {
			was[f] = size
		}
	}
	return func() {
		for f, size := range was {
			pipeControl(f, unix.F_SETPIPE_SZ, size) // fails while the pipe has more data than that
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
