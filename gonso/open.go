package gonso

import (
	"errors"
	"os"
)

// All ways to a Set of namespaces that there are already.

// Current returns the namespaces of the calling thread. Outside of closures
// that is what the program was started in. Without types it returns those of
// all types that the kernel was built with.
//
// It needs /proc, no privilege.
func Current(types ...Type) (*Set, error) {
	return open("current", types, openCurrent)
}

// FromPID returns the namespaces of a process, or of a thread if given its id.
// It needs the permission to trace that process (PTRACE_MODE_READ_FSCREDS, see
// proc(5)). The error for a process that is gone matches unix.ESRCH.
func FromPID(pid int, types ...Type) (*Set, error) {
	return open("open", types, func(all Type, optional bool) (*core, error) { return openPID(pid, all, optional) })
}

// FromPIDFD returns the namespaces of the process that a pidfd refers to
// (pidfd_open(2)), or of the thread, if it was opened with PIDFD_THREAD
// (Linux 6.9). Unlike [FromPID] it cannot come to mean a later process with the
// same id. The pidfd stays the caller's.
//
// It needs the permission to trace that process, as FromPID does, and a /proc in
// which that process has an id. The error for one that is gone matches
// unix.ESRCH, as does that for one in another pid namespace, of which /proc
// shows nothing; the error for a file that is no pidfd matches [os.ErrInvalid].
func FromPIDFD(pidfd *os.File, types ...Type) (*Set, error) {
	return open("open", types, func(all Type, optional bool) (*core, error) { return openPIDFD(pidfd, all, optional) })
}

// FromFiles returns the namespaces of open files, such as those of [Set.File],
// or that another process has sent. The kernel is asked for the type of each;
// two of one type are an error, and the error for any other kind of file
// matches [ErrNotNamespace]. The files are duplicated and stay the caller's.
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

// Open returns the namespaces of the given files, such as /run/netns/blue or
// /proc/1/ns/uts. The kernel is asked for the type of each; two of one type are
// an error, and the error for any other kind of file matches [ErrNotNamespace].
// Files are looked at before they are opened, so that a FIFO does not block and
// a device is not touched.
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

// FromDir returns the namespaces whose files are in a directory, named as in
// /proc/PID/ns: "net", "mnt" and so on, as [Set.Pin] leaves them. Without types
// it takes those that are there, and at least one must be. A file of another
// type than its name says is an error.
//
// In a directory where no file is named like a type, such as /run/netns, the
// namespace files that are there are taken whatever their names, and other
// files ignored. Two of one type are an error then that names both: which of
// them is meant is for [Open] to be told.
//
// Whoever can write to the directory chooses the namespaces, by links of procfs too: where one is this
// process's own, work runs there. [Set.ID] tells.
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
