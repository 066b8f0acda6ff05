package procfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// Dir is the directory of a process or of a thread. It always refers to this one, and never to a
// later one with the same id.
type Dir struct {
	file *os.File // opened with O_PATH
	fd   int
	dev  uint64

	// ID is its number in the procfs; 0 if nobody has asked for it.
	ID int
}

// Process opens the directory of a process, or thread, by its id in this process's pid namespace.
// If the process or thread is gone, the error matches unix.ESRCH.
func Process(pid int) (*Dir, error) {
	above, err := held.above()
	if err != nil {
		return nil, err
	}
	if !above {
		return openDir(pid)
	}
	pidfd, err := openPIDFD(pid)
	if err != nil {
		return nil, err
	}
	defer unix.Close(pidfd)
	return ProcessOf(pidfd)
}

// openPIDFD opens a pidfd of a process or thread.
func openPIDFD(pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	thread := err == unix.EINVAL || err == unix.ENOENT
	if thread {
		fd, err = unix.PidfdOpen(pid, unix.O_EXCL) // PIDFD_THREAD
	}
	switch {
	case err == nil, err == unix.ESRCH:
		return fd, err
	case err == unix.EINVAL && thread:
		return -1, fmt.Errorf("%w, and the id there of a thread is found by a pidfd of one, which Linux has since 6.9: %w", ErrForeign, os.NewSyscallError("pidfd_open", err))
	}
	return -1, fmt.Errorf("%w, and its id there cannot be found: %w", ErrForeign, os.NewSyscallError("pidfd_open", err))
}

// ProcessOf opens the directory of the process of a pidfd.
func ProcessOf(pidfd int) (*Dir, error) {
	return openWhile(func() (int, error) {
		info, err := fdInfo(pidfd)
		if err != nil {
			return 0, reason(err)
		}
		return parseID(info)
	})
}

// openWhile opens the directory of a process, and checks that the process has its id before and
// afterwards. The kernel uses an id again only after the pidfd has lost it.
func openWhile(idNow func() (int, error)) (*Dir, error) {
	id, err := idNow()
	if err != nil {
		return nil, err
	}
	d, err := openDir(id)
	if err != nil {
		return nil, err
	}
	if _, err := idNow(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func openDir(id int) (*Dir, error) {
	fd, err := Open(strconv.Itoa(id), unix.O_PATH|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNone) {
		err = unix.ESRCH
	}
	if err != nil {
		return nil, err
	}
	return &Dir{file: os.NewFile(uintptr(fd), Path(id)), fd: fd, dev: held.dev, ID: id}, nil
}

// Path is where a process's directory is, for errors.
func Path(pid int) string { return "/proc/" + strconv.Itoa(pid) }

// Thread opens the directory of the calling thread. The caller must stay on that thread.
func Thread() (*Dir, error) {
	const name = "thread-self"
	fd, err := Open(name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &Dir{file: os.NewFile(uintptr(fd), "/proc/"+name), fd: fd, dev: held.dev}, nil
}

// parseID finds the id of a pidfd's process in fdinfo (proc_pid_fdinfo(5)).
func parseID(info string) (int, error) {
	value := lineOf(info, "Pid")
	if value == "" {
		return 0, fmt.Errorf("not a pidfd: %w", os.ErrInvalid)
	}
	id, err := strconv.Atoi(value)
	switch {
	case err != nil:
		return 0, err
	case id < 0: // Linux 5.5
		return 0, unix.ESRCH
	case id == 0:
		return 0, fmt.Errorf("the process has no id in the pid namespace of /proc: %w", unix.ESRCH)
	}
	return id, nil
}

// FDInfo is a value in the fdinfo of a descriptor, or "".
func FDInfo(fd int, key string) (string, error) {
	info, err := fdInfo(fd)
	return lineOf(info, key), err
}

func fdInfo(fd int) (string, error) {
	return ReadFile("thread-self/fdinfo/"+strconv.Itoa(fd), maxStatus)
}

// lineOf is the value of a "key: value" line, or "".
func lineOf(text, key string) string {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// FD is the descriptor, opened with O_PATH.
func (d *Dir) FD() int { return d.fd }

// File is the descriptor as a file that still belongs to d.
func (d *Dir) File() *os.File { return d.file }

// String is the path, for errors.
func (d *Dir) String() string { return d.file.Name() }

// Close releases the descriptor.
func (d *Dir) Close() { d.file.Close() }

// ReadFile reads a file of at most limit bytes.
func (d *Dir) ReadFile(name string, limit int64) (string, error) {
	fd, err := beneath(d.fd, d.dev, name, unix.O_RDONLY)
	if err != nil {
		return "", &fs.PathError{Op: "open", Path: d.String() + "/" + name, Err: err}
	}
	return readAll(fd, d.String()+"/"+name, limit)
}

// WriteFile writes in one call, as the files of id maps demand.
func (d *Dir) WriteFile(name, content string) error {
	fd, err := beneath(d.fd, d.dev, name, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(content))
	return err
}

// Link opens the target of a magic link.
func (d *Dir) Link(name string) (*os.File, error) {
	fd, err := sys.Openat(d.fd, name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: d.String() + "/" + name, Err: err}
	}
	return os.NewFile(uintptr(fd), d.String()+"/"+name), nil
}

// Readlink returns the text of a magic link.
func (d *Dir) Readlink(name string) (string, error) {
	above, base := d.fd, name
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		fd, err := beneath(d.fd, d.dev, name[:i], unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return "", &fs.PathError{Op: "readlink", Path: d.String() + "/" + name, Err: err}
		}
		defer unix.Close(fd)
		above, base = fd, name[i+1:]
	}
	b := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(above, base, b)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: d.String() + "/" + name, Err: err}
	}
	return string(b[:n]), nil
}

// Filters returns the lines about filters of system calls in the status file.
func (d *Dir) Filters() (string, error) {
	status, err := d.ReadFile("status", 1<<20)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for line := range strings.Lines(status) {
		if name, _, _ := strings.Cut(line, ":"); name == "Seccomp" || name == "Seccomp_filters" {
			b.WriteString(line)
		}
	}
	return b.String(), nil
}
