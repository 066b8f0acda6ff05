package nsfs

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// NS is a shared reference to a namespace, through a descriptor that it owns. The descriptor is
// closed when the last reference is released. If a reference was forgotten, the finalizer of
// os.File closes the descriptor.
type NS struct {
	open     atomic.Pointer[opened]
	dev, ino uint64
	refs     atomic.Int32
	letGo    func() // see Keep
}

type opened struct {
	file *os.File
	fd   int // of file; os.File.Fd costs more than the setns it is for
}

// lost keeps files whose descriptors the program has closed (close_range(2)). Their numbers may
// mean other files by now, so nobody may close them.
var lost struct {
	sync.Mutex
	files []*os.File
}

func lose(f *os.File) {
	lost.Lock()
	lost.files = append(lost.files, f)
	lost.Unlock()
}

// own makes an NS of a descriptor. It owns the descriptor, even if it fails.
func own(fd int, name string) (*NS, error) {
	f := os.NewFile(uintptr(fd), name)
	n, err := wrap(f, fd)
	if err != nil {
		f.Close()
	}
	return n, err
}

func wrap(f *os.File, fd int) (*NS, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	n := &NS{dev: uint64(st.Dev), ino: st.Ino}
	n.open.Store(&opened{f, fd})
	n.refs.Store(1)
	return n, nil
}

// OpenProc opens a namespace link of procfs, such as "ns/net" below a descriptor of /proc/PID that
// package procfs has opened. OpenProc checks that it is a namespace of that type.
func OpenProc(dirfd int, name string, typ uint32) (*NS, error) {
	fd, err := sys.Openat(dirfd, name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	n, err := OwnAs(os.NewFile(uintptr(fd), name), typ)
	return n, orDenied(err, dirfd, name)
}

// orDenied corrects the error for a link of a process that may not be looked at. Late releases of
// Linux 5.10 (Debian's 5.10.0-46) do not refuse such a link. They give an empty one, and who follows
// that is in the link's directory.
func orDenied(err error, dirfd int, name string) error {
	var text [1]byte
	if errors.Is(err, ErrNotNamespace) {
		if n, rerr := unix.Readlinkat(dirfd, name, text[:]); rerr == nil && n == 0 {
			return &fs.PathError{Op: "open", Path: name, Err: unix.EACCES}
		}
	}
	return err
}

// Known is a namespace by a link of procfs, as for OpenProc, but without a descriptor. It must be
// renewed before anything needs a descriptor. It is nil if the link does not exist.
func Known(dirfd int, name string) *NS {
	var st unix.Stat_t
	if err := unix.Fstatat(dirfd, name, &st, 0); err != nil {
		return nil
	}
	n := &NS{dev: uint64(st.Dev), ino: st.Ino}
	n.open.Store(&opened{fd: -1})
	n.refs.Store(1)
	return n
}

// OpenAt opens a file of any kind: a FIFO must not block and a device must not be touched. So it
// looks at the file through O_PATH before it opens it.
func OpenAt(dirfd int, name string) (*NS, error) {
	fd, err := sys.Openat(dirfd, name, unix.O_PATH, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	if err := check(fd, name); err != nil {
		return nil, orDenied(err, dirfd, name)
	}
	nfd, err := procfs.Reopen(fd, unix.O_RDONLY)
	if err != nil {
		var pe *fs.PathError // of a path that no caller has named
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return own(nfd, name)
}

// Dup makes an NS of a duplicate of f. The error for a closed file matches
// os.ErrClosed.
func Dup(f *os.File) (*NS, error) {
	if f == nil {
		return nil, os.ErrInvalid
	}
	if err := sys.OnFD(f, func(fd int) error { return check(fd, f.Name()) }); err != nil {
		return nil, err
	}
	dup, err := sys.DupFile(f)
	if err != nil {
		return nil, err
	}
	return Own(dup)
}

func check(fd int, name string) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return &fs.PathError{Op: "fstatfs", Path: name, Err: err}
	}
	if int64(st.Type) != unix.NSFS_MAGIC {
		return &fs.PathError{Op: "open", Path: name, Err: ErrNotNamespace}
	}
	return nil
}

// Retain adds a reference. The caller must hold one.
func (n *NS) Retain() *NS {
	if n.refs.Add(1) <= 1 {
		panic("nsfs: Retain of a released namespace")
	}
	return n
}

// Keep makes n own something that the namespace needs, such as the init of a pid namespace: letGo
// is called when the last reference is released. Keep is called once, before n is shared.
func (n *NS) Keep(letGo func()) { n.letGo = letGo }

// Release releases a reference.
func (n *NS) Release() {
	switch r := n.refs.Add(-1); {
	case r == 0:
		if f := n.File(); n.Check() == nil {
			f.Close()
		} else {
			lose(f)
		}
		if n.letGo != nil {
			n.letGo()
		}
	case r < 0:
		panic("nsfs: Release without a reference")
	}
}

// FD is the descriptor, valid while the caller holds a reference.
func (n *NS) FD() int { return n.open.Load().fd }

// Held reports whether there is a descriptor.
func (n *NS) Held() bool { return n.FD() >= 0 }

// Check fails if the descriptor does not refer to the namespace any more: the program has closed
// it.
func (n *NS) Check() error { return n.is(n.FD()) }

func (n *NS) is(fd int) error {
	if fd < 0 {
		return errLost
	}
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil || st.Ino != n.ino || uint64(st.Dev) != n.dev {
		return errLost
	}
	return nil
}

// Enter moves the calling thread into the namespace.
func (n *NS) Enter(typ uint32) error {
	if err := n.Check(); err != nil {
		return err
	}
	switch typ {
	case unix.CLONE_NEWNET, unix.CLONE_NEWUTS, unix.CLONE_NEWCGROUP:
		return setns(n.FD(), typ)
	}
	return unix.Setns(n.FD(), int(typ))
}

var errLost = sys.Wrap("this program has closed gonso's descriptor of the namespace", os.ErrClosed)

// Renew gives n the descriptor of o. o is the same namespace, and must not be used any more.
func (n *NS) Renew(o *NS) {
	if old := n.open.Swap(o.open.Load()).file; old != nil {
		lose(old)
	}
}

// File is the descriptor as an os.File that still belongs to n.
func (n *NS) File() *os.File { return n.open.Load().file }

// DupFile returns a new descriptor for the namespace.
func (n *NS) DupFile() (*os.File, error) {
	f, err := sys.DupFile(n.File())
	if err == nil {
		if err = sys.OnFD(f, n.is); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, err
}

// Same reports whether both are the same namespace. Both are held, so equal
// numbers cannot be one number used twice.
func (n *NS) Same(o *NS) bool { return n.dev == o.dev && n.ino == o.ino }

// Dev and Ino are the numbers that stat(2) gives.
func (n *NS) Dev() uint64 { return n.dev }

// Ino is the inode number, as in "net:[4026531840]".
func (n *NS) Ino() uint64 { return n.ino }

// Type asks the kernel which CLONE_NEW* flag the namespace is (Linux 4.11).
func (n *NS) Type() (uint32, error) {
	t, err := unix.IoctlRetInt(n.FD(), unix.NS_GET_NSTYPE)
	return uint32(t), os.NewSyscallError("ioctl NS_GET_NSTYPE", err)
}

// Owner is the user namespace that owns n. EPERM: it is neither the caller's
// nor below it (Linux 4.9).
func (n *NS) Owner() (*NS, error) { return n.related(unix.NS_GET_USERNS, "NS_GET_USERNS") }

// Parent is the parent of a user or pid namespace, EPERM as for Owner; EINVAL
// for other types.
func (n *NS) Parent() (*NS, error) { return n.related(unix.NS_GET_PARENT, "NS_GET_PARENT") }

// OwnerUID is the owner of a user namespace, as the caller's user namespace has
// it; EINVAL for other types (Linux 4.11).
func (n *NS) OwnerUID() (uint32, error) {
	uid, err := unix.IoctlGetUint32(n.FD(), unix.NS_GET_OWNER_UID)
	return uid, os.NewSyscallError("ioctl NS_GET_OWNER_UID", err)
}

func (n *NS) related(req uint, name string) (*NS, error) {
	fd, err := unix.IoctlRetInt(n.FD(), req)
	if err != nil {
		return nil, os.NewSyscallError("ioctl "+name, err)
	}
	return own(fd, name)
}

// OwnAs makes an NS of a file, after it has checked that the file is a namespace of a type. It
// takes the file over even if it fails.
func OwnAs(f *os.File, typ uint32) (*NS, error) {
	if err := sys.OnFD(f, func(fd int) error { return check(fd, f.Name()) }); err != nil {
		f.Close()
		return nil, err
	}
	n, err := Own(f)
	if err != nil {
		return nil, err
	}
	got, err := n.Type()
	if err == nil && got != typ {
		err = ErrNotNamespace
	}
	if err != nil {
		n.Release()
		return nil, &fs.PathError{Op: "open", Path: f.Name(), Err: err}
	}
	return n, nil
}

// Own makes an NS of an open namespace file, and takes it over even if it fails.
func Own(f *os.File) (*NS, error) {
	var n *NS
	err := sys.OnFD(f, func(fd int) (err error) {
		n, err = wrap(f, fd)
		return err
	})
	if err != nil {
		f.Close()
		return nil, err
	}
	return n, nil
}
