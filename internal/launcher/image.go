//go:build linux

package launcher

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
)

// Supported returns an error matching [errors.ErrUnsupported] where no launcher has been written for the architecture.
func Supported() error {
	if Machine() != 0 {
		return nil
	}
	var written []string
	for _, a := range architectures {
		written = append(written, a.name)
	}
	return fmt.Errorf("linux/%s: no launcher is written for it: processes in namespaces need one of %s; "+
		"on this architecture, run closures on a thread: %w",
		runtime.GOARCH, strings.Join(written, ", "), errors.ErrUnsupported)
}

// launcherText returns the launcher's code.
func launcherText() ([]byte, error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	mark := ints(endMark1, endMark2).bytes
	code := unsafe.Slice((*byte)(textStart()), maxText)
	n := bytes.Index(code, mark)
	if n <= 0 {
		return nil, errors.New("launcher: code without end mark; was this program's text changed after it was linked?")
	}
	return code[:n], nil
}

// imageCache holds the launcher's executable once it has been made, if that is a memfd that nobody
// can write to anymore. A file without seals is for one launch. Somebody may get hold of it during
// the launch and write to it afterwards: this changes nothing, because it is not executed again. A
// failure is not kept.
type imageCache struct {
	mu      sync.Mutex
	file    *os.File
	refused bool // memfds can be made, but not executed
}

var image imageCache

// get returns the executable, and a function to call when the launch is over.
func (c *imageCache) get() (f *os.File, done func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file != nil && !c.refused {
		return c.file, func() {}, nil
	}
	newFile := newExecutable
	if c.refused {
		newFile = newUnnamed
	}
	text, err := launcherText()
	if err != nil {
		return nil, nil, err
	}
	// Readable, so that the launcher is dumpable: the list decides whether its /proc files can be
	// opened.
	f, err = newFile("gonso-launcher", 0o555, bytes.NewReader(elfImage(thisArchitecture(), text)))
	switch {
	case err != nil:
		return nil, nil, err
	case !Sealed(f):
		return f, func() { f.Close() }, nil
	}
	c.file = f
	return f, func() {}, nil
}

// refuse is called when a policy forbids to execute f. It reports whether another file than f can
// be used. Other goroutines may be starting f, so the cleanup of f closes it later.
func (c *imageCache) refuse(f *os.File) bool {
	if !Sealed(f) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file == f {
		c.file, c.refused = nil, true
	}
	return true
}

// SealedCopy returns a copy of an executable file, to be executed by descriptor. Its mode is mode: with 0111, the process
// it becomes is not dumpable unless it is privileged. The file is read from its start; its offset is not used. The caller
// closes both.
//
// The copy is a memfd that nobody can write to anymore. If memfds cannot be made executable
// (vm.memfd_noexec, Linux 6.3), the copy is an unnamed file in a temporary directory, open for
// reading, without seals. That file is for one launch: root may write to it while no process runs
// it. Sealed tells the two apart.
func SealedCopy(src *os.File, name string, mode os.FileMode) (*os.File, error) {
	info, err := src.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() > maxCopy {
		return nil, fmt.Errorf("it has %d bytes, more than the %d that are copied", info.Size(), maxCopy)
	}
	return newExecutable(name, mode, io.NewSectionReader(src, 0, info.Size()))
}

// maxCopy bounds the memory that a copy takes.
const maxCopy = 1 << 30

// Sealed says whether f is a memfd that nobody can write to anymore.
func Sealed(f *os.File) bool {
	seals, err := unix.FcntlInt(f.Fd(), unix.F_GET_SEALS, 0)
	return err == nil && seals&unix.F_SEAL_WRITE != 0
}

// newExecutable returns a file of the given content and mode that exec accepts as /proc/self/fd/N.
func newExecutable(name string, mode os.FileMode, content io.Reader) (*os.File, error) {
	f, memErr := newMemfd(name, mode, content)
	if memErr == nil {
		return f, nil
	}
	if s, ok := content.(io.Seeker); ok {
		if _, err := s.Seek(0, io.SeekStart); err != nil {
			return nil, err
		}
	}
	f, err := newUnnamed(name, mode, content)
	if err != nil {
		return nil, &NoFileError{name, memErr, err}
	}
	return f, nil
}

// NoFileError says why no file can be made to execute a program from.
type NoFileError struct {
	Name    string // of the program to execute
	Memfd   error  // why it is no memfd
	Unnamed error  // why it is no unnamed file
}

func (e *NoFileError) Error() string {
	unnamed := strings.ReplaceAll(e.Unnamed.Error(), "\n", ", ") // a line for each directory
	return fmt.Sprintf("launcher: no file to execute %s from: memfd refused: %v; O_TMPFILE refused: %s", e.Name, e.Memfd, unnamed)
}

// Unwrap gives both reasons.
func (e *NoFileError) Unwrap() []error { return []error{e.Memfd, e.Unnamed} }

// Tests replace these with functions that refuse.
var (
	memfdCreate = unix.MemfdCreate
	tempDirs    = func() []string { return []string{os.TempDir(), "/var/tmp", "/dev/shm"} }
)

func newMemfd(name string, mode os.FileMode, content io.Reader) (*os.File, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := memfdCreate(name, flags|unix.MFD_EXEC)
	if err == unix.EINVAL { // before Linux 6.3, all memfds are executable
		fd, err = memfdCreate(name, flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if err := fillMemfd(f, mode, content); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func fillMemfd(f *os.File, mode os.FileMode, content io.Reader) error {
	if err := fill(f, content); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	_, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals|unix.F_SEAL_EXEC)
	if err == unix.EINVAL { // before Linux 6.3
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals)
	}
	return os.NewSyscallError("fcntl F_ADD_SEALS", err)
}

// newUnnamed is for systems that have no executable memfds.
func newUnnamed(name string, mode os.FileMode, content io.Reader) (*os.File, error) {
	var errs []error
	for _, parent := range tempDirs() {
		w, err := openUnnamed(parent)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		r, err := fillUnnamed(w, name, mode, content)
		w.Close()
		if err == nil {
			err = writersGone(r)
		}
		if err != nil {
			r.Close()
			return nil, err
		}
		return r, nil
	}
	return nil, errors.Join(errs...)
}

// fillUnnamed returns w, open for reading only.
func fillUnnamed(w *os.File, name string, mode os.FileMode, content io.Reader) (*os.File, error) {
	if err := fill(w, content); err != nil {
		return nil, err
	}
	fd, err := procfs.Reopen(int(w.Fd()), unix.O_RDONLY)
	if err != nil {
		return nil, &os.PathError{Op: "reopen", Path: w.Name(), Err: err}
	}
	r := os.NewFile(uintptr(fd), name)
	return r, r.Chmod(mode)
}

// writersPatience is how long another process may have a descriptor that it has inherited and that
// its exec will close.
const writersPatience = 10 * time.Second

// writersGone waits until nobody has f open for writing: until then it cannot be executed
// (ETXTBSY). A child that another goroutine has forked meanwhile still has the files that this
// process has closed, until its exec (golang/go#22315). The kernel gives a read lease if there is
// no writer, see fcntl(2). On a file system without leases, nothing is known.
func writersGone(f *os.File) error {
	for began := time.Now(); ; time.Sleep(200 * time.Microsecond) {
		_, err := unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
		if err == nil {
			_, err = unix.FcntlInt(f.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
			return os.NewSyscallError("fcntl F_SETLEASE", err)
		}
		switch {
		case err != unix.EAGAIN:
			return nil
		case time.Since(began) > writersPatience:
			return fmt.Errorf("launcher: %s is open for writing in a process that inherited it: %w", f.Name(), unix.ETXTBSY)
		}
	}
}

// openUnnamed makes a file that never has a name, on a file system that files may be executed from.
func openUnnamed(parent string) (*os.File, error) {
	dir, err := os.MkdirTemp(parent, "gonso-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(dir)
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if fs.Flags&unix.ST_NOEXEC != 0 {
		return nil, fmt.Errorf("%s is mounted noexec", parent)
	}
	return os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR|os.O_EXCL, 0o600)
}

// fill copies content. The pieces are so large that the number of calls does not matter.
func fill(f *os.File, content io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{content}, make([]byte, 256<<10))
	return err
}
