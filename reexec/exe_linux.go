package reexec

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/reexec/internal/launcher"
)

// Supported returns why this system has no process backend, or nil.
func Supported() error { return launcher.Supported() }

// This program, opened before any namespace is entered. The link means the file
// that is running, whatever has become of its path. Failures are not kept.
var (
	exeMu     sync.Mutex
	exeFile   *os.File // O_PATH
	exeSealed *os.File // a sealed copy in memory
)

// executable returns a descriptor of this program and what to do when the launch
// is over. Where somebody else may be root inside, it is a sealed copy: they
// could otherwise write to the host's file through /proc/PID/exe
// (CVE-2019-5736). Its mode lets nobody read it, so that the kernel leaves a
// process that executes it undumpable wherever the owner is not mapped
// (fs/exec.c, would_dump).
func executable(protect bool) (f *os.File, done func(), err error) {
	exeMu.Lock()
	defer exeMu.Unlock()
	keep := func() {}
	if !protect {
		if exeFile == nil {
			fd, err := unix.Open(selfExe, unix.O_PATH|unix.O_CLOEXEC, 0)
			if err != nil {
				return nil, nil, &os.PathError{Op: "open", Path: selfExe, Err: err}
			}
			exeFile = os.NewFile(uintptr(fd), selfExe)
		}
		return exeFile, keep, nil
	}
	if exeSealed != nil {
		return exeSealed, keep, nil
	}
	src, err := os.Open(selfExe)
	if err != nil {
		return nil, nil, err
	}
	defer src.Close()
	f, err = launcher.SealedCopy(src, "gonso-worker", 0o111)
	if err != nil {
		return nil, nil, fmt.Errorf("a sealed copy of this program: %w", err)
	}
	if !launcher.Sealed(f) {
		// Where memfds may not be executed nothing can be sealed: each launch
		// has a copy of its own, of no use to anybody once it was written to.
		return f, func() { f.Close() }, nil
	}
	exeSealed = f
	return f, keep, nil
}

const selfExe = "/proc/self/exe"

// environment is what a worker gets: all of this process's, or, where somebody
// else may be root inside and read it, only what concerns the Go runtime.
func environment(protect bool) []string {
	all := os.Environ()
	if !protect {
		return all
	}
	var env []string
	for _, kv := range all {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "GODEBUG", "GOGC", "GOMAXPROCS", "GOMEMLIMIT", "GORACE", "GOTRACEBACK", "GOCOVERDIR", "GONSO_DEBUG", "LANG", "PATH", "TZ":
			env = append(env, kv)
		}
	}
	return env
}

// workerSysProcAttr gives the worker a process group of its own: what is typed
// at the terminal is for its parent.
func workerSysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
