package gonso

import (
	"errors"
	"os"
)

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

var (
	errTwoOfAType = errors.New("a Set has one namespace of each type, and an earlier file is of the same type")
	errNoFiles    = errors.New("no namespace file given")
)
