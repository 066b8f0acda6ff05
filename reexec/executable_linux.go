package reexec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/sys"
)

// Supported returns why this system has no process backend, or nil.
func Supported() error { return launcher.Supported() }

// executable is the file of a program, opened before any namespace is entered.
// Failures are not kept.
type executable struct {
	path   string // how it is named to people; opened at the first launch
	self   bool   // it is this program
	mu     sync.Mutex
	file   *os.File // O_PATH
	sealed *os.File // a sealed copy in memory
	elf    *elfInfo // what was found in it
}

// thisProgram is opened by a link that means the file that is running, whatever
// has become of its path.
var thisProgram = &executable{path: "/proc/self/exe", self: true}

// open returns a descriptor of the program and what to do when the launch is
// over. Where somebody else may be root inside, it is a sealed copy: they could
// otherwise write to the host's file through /proc/PID/exe (CVE-2019-5736). Its
// mode lets nobody read it, so that the kernel leaves a process that executes it
// undumpable wherever the owner is not mapped (fs/exec.c, would_dump).
func (x *executable) open(protect bool) (f *os.File, done func(), err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	keep := func() {}
	if x.file == nil {
		fd, err := unix.Open(x.path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, nil, &os.PathError{Op: "open", Path: x.path, Err: err}
		}
		x.file = os.NewFile(uintptr(fd), x.path)
	}
	if x.elf == nil && !x.self {
		if err := x.check(); err != nil {
			x.file.Close()
			x.file = nil
			return nil, nil, err
		}
	}
	if !protect {
		return x.file, keep, nil
	}
	if x.sealed != nil {
		return x.sealed, keep, nil
	}
	src, err := x.read()
	if err != nil {
		return nil, nil, err
	}
	defer src.Close()
	f, err = launcher.SealedCopy(src, "gonso-worker", 0o111)
	if err != nil {
		return nil, nil, fmt.Errorf("a sealed copy of %s: %w", x.path, err)
	}
	if !launcher.Sealed(f) {
		// Where memfds may not be executed nothing can be sealed: each launch
		// has a copy of its own, of no use to anybody once it was written to.
		return f, func() { f.Close() }, nil
	}
	x.sealed = f
	return f, keep, nil
}

// openWithin is open for as long as ctx lets it be: the program's file may be on a file system
// that does not answer.
func (x *executable) openWithin(ctx context.Context, protect bool) (f *os.File, done func(), err error) {
	if x.self {
		return x.open(protect)
	}
	type opened struct {
		f    *os.File
		done func()
	}
	o, err := sys.Within(ctx, func() (opened, error) {
		f, done, err := x.open(protect)
		return opened{f, done}, err
	}, func(o opened) { o.done() })
	if errors.Is(err, sys.ErrLeftBehind) {
		err = &os.PathError{Op: "open", Path: x.path, Err: err}
	}
	return o.f, o.done, err
}

// OpenSelf returns this program, to be executed, and what to do afterwards.
func OpenSelf(protect bool) (f *os.File, done func(), err error) { return thisProgram.open(protect) }

// read opens what was opened, for reading.
func (x *executable) read() (*os.File, error) {
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", x.file.Fd()))
	var pe *os.PathError
	if errors.As(err, &pe) {
		pe.Path = x.path
	}
	return f, err
}

// check refuses early what cannot be a program like this one. Its caller has
// x.mu.
func (x *executable) check() error {
	bad := func(err error) error { return &os.PathError{Op: "exec", Path: x.path, Err: err} }
	var st unix.Stat_t
	if err := unix.Fstat(int(x.file.Fd()), &st); err != nil {
		return bad(err)
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return bad(unix.EISDIR)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return bad(errors.New("it is not a regular file"))
	}
	f, err := x.read()
	if errors.Is(err, os.ErrPermission) {
		return nil // it may be executable all the same
	}
	if err != nil {
		return err
	}
	defer f.Close()
	e, err := readELF(f)
	if err != nil {
		return bad(err)
	}
	if want := launcher.Machine(); e.machine != want {
		return bad(fmt.Errorf("it is for another processor (ELF machine %d, not %d)", e.machine, want))
	}
	x.elf = e
	return nil
}

// dynamic reports whether the program needs a loader, as far as that is known.
func (x *executable) dynamic() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.elf == nil && x.file != nil {
		if f, err := x.read(); err == nil {
			defer f.Close()
			x.elf, _ = readELF(f)
		}
	}
	return x.elf != nil && x.elf.interp
}

// close is for programs that only one Worker starts.
func (x *executable) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range []**os.File{&x.file, &x.sealed} {
		if *f != nil {
			(*f).Close()
			*f = nil
		}
	}
}

// workerSysProcAttr gives the worker a process group of its own: what is typed
// at the terminal is for its parent.
func workerSysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
