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
	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// Supported returns why this system has no process backend, or nil.
func Supported() error { return launcher.Supported() }

// executable is the file of a program, opened before any namespace is entered.
// Failures are not kept.
type executable struct {
	path   string // its name in messages; opened at the first launch
	self   bool   // it is this program
	seal   bool   // execute a copy of it, even where nobody else is root
	mu     sync.Mutex
	file   *os.File // O_PATH
	hidden *os.File // a sealed copy in memory, of hiddenMode
	copied *os.File // a sealed copy in memory, of openMode
	elf    *elfInfo // what its ELF headers say
}

// name is the program's name in messages.
func (x *executable) name() string {
	if x.self {
		if path, err := os.Executable(); err == nil {
			return path
		}
	}
	return x.path
}

// The modes of copies. If nobody may read a copy, the kernel makes a process that executes it
// undumpable wherever the owner is not mapped (fs/exec.c, would_dump).
const (
	hiddenMode = 0o111
	openMode   = 0o555
)

// thisProgram is opened by a link to the running file. The link works even if the path names
// another file now, or no file.
var thisProgram = &executable{path: "/proc/self/exe", self: true} // path: for errors

// open returns a descriptor of the program and what to do when the launch is over. If somebody else
// may be root inside, it is a sealed copy: otherwise that root could write to the host's file
// through /proc/PID/exe (CVE-2019-5736). It is a sealed copy, too, if copied is set: the file
// itself may not be executed then.
func (x *executable) open(protect, copied bool) (f *os.File, done func(), err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	keep := func() {}
	if x.file == nil {
		fd, err := x.find()
		if err != nil {
			return nil, nil, err
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
	mode, cached := os.FileMode(openMode), &x.copied
	if protect {
		mode, cached = hiddenMode, &x.hidden
	}
	switch {
	case !protect && !x.seal && !copied:
		return x.file, keep, nil
	case *cached != nil:
		return *cached, keep, nil
	}
	src, err := x.read()
	if err != nil && !protect && !copied {
		return x.file, keep, nil // a user who may not read the file may still execute it
	}
	if errors.Is(err, os.ErrPermission) {
		err = fmt.Errorf("it takes a copy of this file, which this user may not read; chmod +r lifts that: %w", err)
	}
	if err != nil {
		return nil, nil, err
	}
	defer src.Close()
	f, err = launcher.SealedCopy(src, "gonso-worker", mode)
	if err != nil {
		return nil, nil, fmt.Errorf("a sealed copy of %s: %w", x.name(), err)
	}
	if !launcher.Sealed(f) {
		// Where memfds may not be executed, nothing can be sealed. So each launch has its own copy:
		// nobody uses it again if somebody has written to it.
		return f, func() { f.Close() }, nil
	}
	*cached = f
	return f, keep, nil
}

// copyHelps reports whether a copy could be executed where the file itself could not. The file's
// mode must let somebody execute it, and this process must be allowed to or already run it. Root
// inside may not be allowed to: it is another user outside, and has no rights to files of ids that
// are not mapped (capable_wrt_inode_uidgid in kernel/capability.c). If this program's own mount has
// become noexec since, a copy helps, too. For other programs, noexec is respected.
func (x *executable) copyHelps() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.file == nil {
		return false
	}
	fd := int(x.file.Fd())
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&0o111 == 0 {
		return false
	}
	return x.self || unix.Faccessat(fd, "", unix.X_OK, unix.AT_EMPTY_PATH|unix.AT_EACCESS) == nil
}

// ownersOnly reports whether at most the owner and the group of a file may execute it.
func ownersOnly(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Mode&0o001 == 0
}

// onNoexec reports whether the mount of a file forbids to execute files.
func onNoexec(f *os.File) bool {
	var fsys unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &fsys) == nil && fsys.Flags&unix.ST_NOEXEC != 0
}

// find opens the file by its name.
func (x *executable) find() (fd int, err error) {
	if x.self {
		return openOwnFile()
	}
	procfs.AtHome(func() { fd, err = unix.Open(x.path, unix.O_PATH|unix.O_CLOEXEC, 0) })
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: x.path, Err: err}
	}
	return fd, nil
}

// openWithin is open, but gives up when ctx is done: the program's file may be on a file system
// that does not answer.
func (x *executable) openWithin(ctx context.Context, protect, copied bool) (f *os.File, done func(), err error) {
	if x.self {
		return x.open(protect, copied)
	}
	type opened struct {
		f    *os.File
		done func()
	}
	o, err := sys.Within(ctx, func() (opened, error) {
		f, done, err := x.open(protect, copied)
		return opened{f, done}, err
	}, func(o opened) { o.done() })
	if errors.Is(err, sys.ErrLeftBehind) {
		err = &os.PathError{Op: "open", Path: x.path, Err: err}
	}
	return o.f, o.done, err
}

// OpenSelf returns this program's file for execution, and a function to call after that. If root
// inside may be another user outside, it is a file that this user may execute.
func OpenSelf(protect, user bool) (f *os.File, done func(), err error) {
	f, done, err = thisProgram.open(protect, false)
	if err == nil && !protect && (user && ownersOnly(f) || onNoexec(f)) {
		if f, done, err := thisProgram.open(protect, true); err == nil {
			return f, done, nil
		}
	}
	return f, done, err // if anything is wrong with it, the kernel reports that
}

// NeedsCopy reports whether a program must be copied so that root inside, who may be another user
// outside, can execute it.
func NeedsCopy(exe *os.File) bool { return ownersOnly(exe) }

// CopyExe returns a copy of a program, as OpenSelf does of this program, and a function to call
// after that. The file may be on a file system that does not answer. CopyExe waits for it no longer
// than defaultStartTimeout, and then leaves a goroutine behind.
func CopyExe(ctx context.Context, exe *os.File, protect bool) (f *os.File, done func(), err error) {
	ctx, cancel := sys.WithTimeout(ctx, defaultStartTimeout, errSlow)
	defer cancel()
	// The caller may close its file once this has returned.
	own, err := sys.DupFile(exe)
	if err != nil {
		return nil, nil, err
	}
	type result struct {
		f   *os.File
		err error
	}
	copied := make(chan result, 1)
	go func() {
		defer own.Close()
		f, err := copyExe(own, protect)
		copied <- result{f, err}
	}()
	select {
	case r := <-copied:
		return r.f, func() { r.f.Close() }, r.err
	case <-ctx.Done():
		go func() {
			if r := <-copied; r.err == nil {
				r.f.Close()
			}
		}()
		return nil, nil, context.Cause(ctx)
	}
}

func copyExe(exe *os.File, protect bool) (*os.File, error) {
	x := &executable{path: exe.Name(), file: exe}
	var st unix.Stat_t
	if err := unix.Fstat(int(exe.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &os.PathError{Op: "exec", Path: x.path, Err: errNotRegular}
	}
	// exec checks this right of the file. A copy has its own mode.
	if err := unix.Faccessat(int(exe.Fd()), "", unix.X_OK, unix.AT_EMPTY_PATH|unix.AT_EACCESS); err != nil && err != unix.ENOSYS && err != unix.EINVAL {
		return nil, &os.PathError{Op: "exec", Path: x.path, Err: err}
	}
	src, err := x.read()
	if err != nil {
		return nil, fmt.Errorf("it cannot be read, and so not be copied: %w", err)
	}
	defer src.Close()
	mode := os.FileMode(openMode)
	if protect {
		mode = hiddenMode
	}
	return launcher.SealedCopy(src, "gonso-exe", mode)
}

// ErrDynamic says that a program would run a loader and libraries from inside.
var ErrDynamic = sys.Wrap("the program is dynamically linked and would run the loader and the libraries that it finds "+
	"in a root directory of somebody else's: build it with CGO_ENABLED=0", errors.ErrUnsupported)

// CheckStatic returns an error that matches ErrDynamic if the program f needs a loader. f must be
// readable.
func CheckStatic(f *os.File) error {
	e, err := readELF(f)
	switch {
	case err != nil:
		return err
	case e.interp:
		return ErrDynamic
	}
	return nil
}

// read opens the program's open file once more, for reading.
func (x *executable) read() (*os.File, error) {
	fd, err := procfs.Reopen(int(x.file.Fd()), unix.O_RDONLY)
	var pe *os.PathError
	if errors.As(err, &pe) {
		pe.Path = x.path
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), x.path), nil
}

var errNotRegular = errors.New("it is not a regular file")

// check refuses early a file that cannot be a program like this one. The caller holds x.mu.
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
		return bad(errNotRegular)
	}
	f, err := x.read()
	if errors.Is(err, os.ErrPermission) {
		return nil // it may still be executable
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

// Dynamic reports whether this program is dynamically linked.
func Dynamic() bool {
	if _, done, err := thisProgram.open(false, false); err == nil {
		defer done()
	}
	return thisProgram.dynamic()
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

// close closes the files of a program that only one Worker starts.
func (x *executable) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, f := range []**os.File{&x.file, &x.hidden, &x.copied} {
		if *f != nil {
			(*f).Close()
			*f = nil
		}
	}
}

// workerSysProcAttr gives the worker its own session. So text typed at the terminal goes to its
// parent, and nobody inside can type there (CVE-2017-5226).
func workerSysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
