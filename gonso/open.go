package gonso

import (
	"errors"
	"os"
)

// All ways to a Set of namespaces that there are already.

// Current returns the namespaces of the calling thread. Outside of closures these are the
// namespaces in which the program was started. Without types it returns all types that the kernel
// has.
//
// It needs /proc, and no privilege.
func Current(types ...Type) (*Set, error) {
	return open("current", types, openCurrent)
}

// FromPID returns the namespaces of a process, or of a thread if given its id. It needs the
// permission to trace that process (PTRACE_MODE_READ_FSCREDS, see proc(5)). If the process has
// ended, the error matches unix.ESRCH.
func FromPID(pid int, types ...Type) (*Set, error) {
	return open("open", types, func(all Type, optional bool) (*core, error) { return openPID(pid, all, optional) })
}

// FromPIDFD returns the namespaces of the process that a pidfd refers to (pidfd_open(2)), or of the
// thread, if it was opened with PIDFD_THREAD (Linux 6.9). Unlike [FromPID] it cannot open the
// namespaces of a later process with the same id. The pidfd stays the caller's.
//
// It needs the permission to trace that process, as FromPID does, and a /proc in which that process
// has an id. The error matches unix.ESRCH if the process has ended, or is in another pid namespace
// that /proc does not show. It matches [os.ErrInvalid] if the file is not a pidfd.
func FromPIDFD(pidfd *os.File, types ...Type) (*Set, error) {
	return open("open", types, func(all Type, optional bool) (*core, error) { return openPIDFD(pidfd, all, optional) })
}

// FromFiles returns the namespaces of open files: files from [Set.File], or files that another
// process has sent. The kernel tells the type of each. Two files of one type are an error. For any
// other kind of file the error matches [ErrNotNamespace]. The files are duplicated and stay the
// caller's.
//
// It needs no privilege.
func FromFiles(files ...*os.File) (*Set, error) {
	if len(files) == 0 {
		return nil, newError("open", 0, "", errNoFiles)
	}
	c, err := openFiles(files)
	if err != nil {
		return nil, err
	}
	return newSet(c), nil
}

// Open returns the namespaces of the given files, such as /run/netns/blue or /proc/1/ns/uts. The
// kernel tells the type of each. Two files of one type are an error. For any other kind of file the
// error matches [ErrNotNamespace]. Each file is checked before it is opened, so that a FIFO does
// not block and a device is not touched.
func Open(paths ...string) (*Set, error) {
	if len(paths) == 0 {
		return nil, newError("open", 0, "", errNoFiles)
	}
	c, err := openPaths(paths)
	if err != nil {
		return nil, err
	}
	return newSet(c), nil
}

// FromDir returns the namespaces whose files are in a directory. The files have the names of
// /proc/PID/ns: "net", "mnt" and so on. [Set.Pin] makes such files. Without types FromDir takes all
// that exist, and at least one must exist. A file whose name is not the name of its type is an
// error.
//
// If no file in the directory is named like a type, as in /run/netns, all namespace files are
// taken under any name, and other files are ignored. Two files of one type are an error that names
// both. Use [Open] with the path of the file that you mean.
//
// A user who can write to the directory chooses the namespaces, also by links of procfs. One of
// them may be this process's own, and work then runs there. [Set.ID] tells which one it is.
func FromDir(dir string, types ...Type) (*Set, error) {
	return open("open", types, func(all Type, optional bool) (*core, error) { return openDir(dir, all, optional) })
}

func open(op string, types []Type, f func(all Type, optional bool) (*core, error)) (*Set, error) {
	all, err := union(types)
	if err != nil {
		return nil, newError(op, 0, "", err)
	}
	c, err := f(all, len(types) == 0)
	if err != nil {
		return nil, err
	}
	return newSet(c), nil
}

var (
	errTwoOfAType = errors.New("a Set has one namespace of each type, and an earlier file is of the same type")
	errNoFiles    = errors.New("no namespace file given")
)
