package reexec

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// errSilent: package init of the worker has sent nothing.
var errSilent = errors.New("it ended before it ran any Go code of package gonso")

// helperError names the program that should be the worker, and says whether it can be a worker.
func helperError(path string, alive bool, cause error) error {
	if alive {
		return fmt.Errorf("%s: %w", path, cause)
	}
	// The text of ErrNotInitialized is about this program's main.
	return fmt.Errorf("%s: %w; is it a program that calls gonso.Init()? %w", path, cause,
		Phrase(ErrNotInitialized, "(as far as is known, it did not)"))
}

// lacksLoader reports whether a launch failed, as far as can be known, because the Set's mnt
// namespace has no loader, or not the libraries, for a dynamically linked program
// (opencontainers/runc#4243). The kernel then answers ENOENT. A loader that misses a library ends
// with status 127.
func (w *Worker) lacksLoader(err error) bool {
	if !joinsType(w.opts.Join, unix.CLONE_NEWNS) || w.opts.ForeignRoot && !w.opts.DynamicLoader {
		return false
	}
	var le *LaunchError
	var died *DiedError
	switch {
	case errors.As(err, &le):
		if le.Op != "execve" && le.Op != "execveat" || !errors.Is(le.Err, unix.ENOENT) {
			return false
		}
	case errors.As(err, &died):
		if !errors.Is(died.Cause, errSilent) || died.Status != "exit status 127" {
			return false
		}
	default:
		return false
	}
	return w.exe.dynamic()
}

// checkLoader refuses a program, open as f, that would run somebody else's loader.
func (w *Worker) checkLoader(f *os.File) error {
	if !w.opts.ForeignRoot || w.opts.DynamicLoader {
		return nil
	}
	err := CheckStatic(f)
	if errors.Is(err, ErrDynamic) {
		return fmt.Errorf("Worker.DynamicLoader is not set: %s: %w; or have a static program as helper (Worker.Path)", w.exe.path, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", w.exe.path, err)
	}
	return nil
}

// withoutMount takes the mnt namespace out of joins.
func withoutMount(joins []Join) (rest []Join, mnt []*os.File) {
	for _, j := range joins {
		if j.Type != unix.CLONE_NEWNS {
			rest = append(rest, j)
		} else if mnt == nil {
			mnt = []*os.File{j.File}
		}
	}
	return rest, mnt
}
