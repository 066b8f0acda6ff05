//go:build linux

package launcher

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
)

// Supported returns an error matching [errors.ErrUnsupported] where no launcher has been written for the architecture.
func Supported() error {
	if Machine() != 0 {
		return nil
	}
	return fmt.Errorf("no launcher for linux/%s: processes in namespaces need linux/amd64 or linux/arm64: %w",
		runtime.GOARCH, errors.ErrUnsupported)
}

// launcherText returns the launcher's code.
func launcherText() ([]byte, error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	mark := binary.LittleEndian.AppendUint32(nil, endMark1)
	mark = binary.LittleEndian.AppendUint32(mark, endMark2)
	code := unsafe.Slice((*byte)(textStart()), maxText)
	n := bytes.Index(code, mark)
	if n <= 0 {
		return nil, errors.New("launcher: code without end mark; was this program's text changed after it was linked?")
	}
	return code[:n], nil
}

// imageCache holds the launcher's executable once it has been made. A failure to make it is not kept.
type imageCache struct {
	mu   sync.Mutex
	file *os.File
}

var image imageCache

// get returns the executable, which the cache owns.
func (c *imageCache) get() (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.file != nil {
		return c.file, nil
	}
	return c.make(newExecutable)
}

// instead returns an executable that is not a memfd, for when refused could not be executed.
func (c *imageCache) instead(refused *os.File) (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.file == refused && Sealed(refused):
		return c.make(newUnnamed) // others may be starting refused, so it is left to be closed by its cleanup
	case c.file == refused:
		return nil, errors.New("launcher: not a memfd already")
	}
	return c.file, nil
}

func (c *imageCache) make(newFile func(string, os.FileMode, io.Reader) (*os.File, error)) (*os.File, error) {
	text, err := launcherText()
	if err != nil {
		return nil, err
	}
	// Readable, so that the launcher is dumpable: whether its /proc files can be opened is the list's choice.
	f, err := newFile("gonso-launcher", 0o555, bytes.NewReader(elfImage(Machine(), text)))
	if err == nil {
		c.file = f
	}
	return f, err
}

// SealedCopy returns a copy of an executable file, to be executed by descriptor. Its mode is mode: with 0111, the process
// it becomes is not dumpable unless it is privileged. The file is read from its start; its offset is not used. The caller
// closes both.
//
// The copy is a memfd that nobody can write to anymore. Where memfds cannot be made executable (vm.memfd_noexec, Linux
// 6.3) it is an unnamed file in a temporary directory, open for reading, without seals: root may
// still write to it while no process runs it. Sealed tells which it is.
func SealedCopy(src *os.File, name string, mode os.FileMode) (*os.File, error) {
	return newExecutable(name, mode, io.NewSectionReader(src, 0, 1<<63-1))
}

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
		return nil, fmt.Errorf("launcher: no file to execute %s from: memfd refused: %w; O_TMPFILE refused: %w", name, memErr, err)
	}
	return f, nil
}

// Tests have systems that refuse.
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
		defer w.Close()
		if err := fill(w, content); err != nil {
			return nil, err
		}
		// Open for writing, it could not be executed (ETXTBSY).
		fd, err := procfs.Reopen(int(w.Fd()), unix.O_RDONLY)
		if err != nil {
			return nil, &os.PathError{Op: "reopen", Path: w.Name(), Err: err}
		}
		r := os.NewFile(uintptr(fd), name)
		if err := r.Chmod(mode); err != nil {
			r.Close()
			return nil, err
		}
		return r, nil
	}
	return nil, errors.Join(errs...)
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

// fill copies content, in pieces large enough for the number of calls not to matter.
func fill(f *os.File, content io.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{content}, make([]byte, 256<<10))
	return err
}
