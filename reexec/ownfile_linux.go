package reexec

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
)

// openOwnFile opens the file of this program. Usually /proc/self/exe is this file. But it is the
// loader if the program was started as the loader's argument: ld-linux.so ./program. Then
// /proc/self/maps has the file that this code is mapped from. In a program that loads Go as a
// shared library, that file would be the library.
func openOwnFile() (fd int, err error) {
	fd, err = procfs.Link("self/exe", unix.O_PATH)
	if err != nil {
		return -1, err
	}
	exe, err := linkOf("self/exe")
	if err != nil {
		return fd, nil
	}
	maps, err := procfs.ReadFile("self/maps", 64<<20)
	if err != nil {
		return fd, nil
	}
	own, ino := mappedFrom(maps, uint64(reflect.ValueOf(openOwnFile).Pointer()))
	if own == "" || own == exe || !isLoader("self/exe") {
		return fd, nil
	}
	unix.Close(fd)
	var st unix.Stat_t
	procfs.AtHome(func() { fd, err = unix.Open(own, unix.O_PATH|unix.O_CLOEXEC, 0) })
	if err == nil {
		if err = unix.Fstat(fd, &st); err == nil && st.Ino != ino {
			err = errReplaced
		}
		if err == nil {
			return fd, nil
		}
		unix.Close(fd)
	}
	return -1, &os.PathError{Op: "open", Path: own, Err: fmt.Errorf("%w; it is this program, which was started by way of %s", err, exe)}
}

// isLoader reports whether an executable needs no loader itself. Loaders can be read by everybody.
func isLoader(name string) bool {
	fd, err := procfs.Link(name, unix.O_RDONLY)
	if err != nil {
		return false
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	e, err := readELF(f)
	return err == nil && !e.interp
}

var errReplaced = errors.New("the file was replaced since it was started")

// linkOf returns the target of a link of this process, as text.
func linkOf(name string) (string, error) {
	dir, base, _ := strings.Cut(name, "/")
	fd, err := procfs.Open(dir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, base, b)
	return string(b[:max(n, 0)]), err
}

// mappedFrom gives the path and the inode number of the file that an address is mapped from, or "". See
// proc_pid_maps(5).
func mappedFrom(maps string, addr uint64) (path string, ino uint64) {
	for line := range strings.Lines(maps) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(f) < 6 {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		low, err1 := strconv.ParseUint(from, 16, 64)
		high, err2 := strconv.ParseUint(to, 16, 64)
		if err1 != nil || err2 != nil || addr < low || addr >= high {
			continue
		}
		ino, _ = strconv.ParseUint(f[4], 10, 64)
		path = strings.ReplaceAll(strings.TrimLeft(f[5], " "), `\012`, "\n")
		if !strings.HasPrefix(path, "/") {
			return "", 0 // not mapped from a file
		}
		return path, ino
	}
	return "", 0
}
