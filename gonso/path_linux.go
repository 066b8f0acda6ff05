package gonso

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// This file opens files by their paths in a Set's mount namespace, and finds and binds unix sockets
// there.

type openArgs struct {
	Name    string
	Flag    int
	Perm    os.FileMode
	Caution caution
	Root    string // the root directory for the look-up of Name, or ""
	Dir     string // where relative paths begin, or ""
	Foreign Type   // the Set's types that are not home
}

// full is the whole path, for errors.
func (a openArgs) full() string {
	if a.Root == "" {
		return a.Name
	}
	return strings.TrimRight(a.Root, "/") + filepath.Clean("/"+a.Name) // ".." stays below Root
}

// openPlace is the directory where the look-up of a name begins, and the rules of the look-up.
type openPlace struct {
	fd      int
	resolve uint64
}

// place gives the directory where the look-up of Name begins. The caller closes it.
func (a openArgs) place() (openPlace, error) {
	start := openPlace{fd: unix.AT_FDCWD}
	if a.Caution == anyFile || a.Caution == socketFile {
		start.resolve = unix.RESOLVE_NO_MAGICLINKS
	}
	const flag = unix.O_PATH | unix.O_DIRECTORY
	if a.Dir != "" {
		fd, err := sys.Openat(unix.AT_FDCWD, a.Dir, flag, 0)
		if err != nil {
			return openPlace{}, &os.PathError{Op: "open", Path: a.Dir, Err: err}
		}
		start.fd = fd
	}
	if a.Root == "" {
		return start, nil
	}
	defer start.close()
	var fd int
	var err error
	switch a.Caution {
	case ownFile, anyFile:
		fd, err = openArgs{Name: a.Root, Foreign: a.Foreign}.lookUp(start, flag)
	default:
		var w *found
		if w, err = find(start.fd, a.Root, flag); err == nil {
			if fd, err = w.fd, w.ordinary(); err != nil {
				w.close()
			}
		}
	}
	if err != nil {
		return openPlace{}, about("InRoot", &os.PathError{Op: "open", Path: a.Root, Err: err})
	}
	// RESOLVE_IN_ROOT alone follows no magic links today, but this may change (openat2(2)).
	return openPlace{fd, unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}, nil
}

func (p openPlace) close() {
	if p.fd >= 0 {
		unix.Close(p.fd)
	}
}

// open opens with O_NONBLOCK, because a FIFO could keep it waiting, and nothing could end that
// wait. It opens with O_NOCTTY, so that a terminal does not become the controlling terminal of a
// process that leads a session without one.
func (a openArgs) open(reopen reopener) (*os.File, error) {
	flag := a.Flag
	if flag&unix.O_PATH == 0 {
		flag |= unix.O_NONBLOCK | unix.O_NOCTTY
	}
	f, err := a.openAs(flag, reopen)
	if err == nil && flag&unix.O_NONBLOCK != a.Flag&unix.O_NONBLOCK && f.SetDeadline(time.Time{}) != nil {
		// The poller does not take this kind of file. os.OpenFile would have left it blocking, too.
		err = sys.OnFD(f, func(fd int) error { return os.NewSyscallError("fcntl", unix.SetNonblock(fd, false)) })
		if err != nil {
			f.Close()
			f = nil
		}
	}
	return f, err
}

func (a openArgs) openAs(flag int, reopen reopener) (*os.File, error) {
	from, err := a.place()
	if err != nil {
		return nil, err
	}
	defer from.close()
	var fd int
	switch a.Caution {
	case ownFile, anyFile:
		fd, err = a.lookUp(from, flag)
	case ownSocket, socketFile:
		fd, err = a.findSocket(from)
	default:
		fd, err = a.openFound(from, flag, reopen)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: a.full(), Err: err}
	}
	return sys.NewFile(fd, a.full()), nil
}

// lookUp opens a file in one step.
func (a openArgs) lookUp(from openPlace, flag int) (int, error) {
	return lookUp(a.Foreign, from, a.Name, flag&unix.O_NOFOLLOW == 0, func(p openPlace, name string) (int, error) {
		if p.resolve == 0 {
			return sys.Openat(p.fd, name, flag, modeBits(a.Perm))
		}
		return openat2(p.fd, name, a.how(flag, p.resolve))
	})
}

// how makes the argument of openat2(2). openat2 refuses a mode that is not needed, and flags that
// open(2) ignores. So they are left out.
func (a openArgs) how(flag int, resolve uint64) *unix.OpenHow {
	flag &= openFlags
	if flag&unix.O_PATH != 0 {
		flag &= unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	}
	how := &unix.OpenHow{Flags: uint64(flag), Resolve: resolve}
	if flag&os.O_CREATE != 0 || flag&unix.O_TMPFILE == unix.O_TMPFILE {
		how.Mode = uint64(modeBits(a.Perm))
	}
	return how
}

// openFlags are the flags that open(2) knows (VALID_OPEN_FLAGS in include/linux/fcntl.h).
const openFlags = unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC | unix.O_APPEND | unix.O_NONBLOCK |
	unix.O_SYNC | unix.O_DSYNC | unix.O_ASYNC | unix.O_DIRECT | unix.O_LARGEFILE | unix.O_DIRECTORY | unix.O_NOFOLLOW |
	unix.O_NOATIME | unix.O_CLOEXEC | unix.O_PATH | unix.O_TMPFILE

// openFound opens a file that it has looked up and checked before, or makes a new file.
func (a openArgs) openFound(from openPlace, flag int, reopen reopener) (int, error) {
	switch {
	case flag&unix.O_TMPFILE == unix.O_TMPFILE:
		return a.makeIn(from, a.Name, ".", flag)
	case flag&(os.O_CREATE|unix.O_PATH) != os.O_CREATE:
		return a.openThere(from, flag, reopen)
	}
	dir, base := cutPath(a.Name)
	if flag&os.O_EXCL != 0 {
		return a.makeIn(from, dir, base, flag)
	}
	// It tries more than once: another process may remove the file and make it again. The number of
	// tries is limited, because a link may lead nowhere.
	for range 8 {
		fd, err := a.openThere(from, flag, reopen)
		if err != unix.ENOENT {
			return fd, err
		}
		if fd, err = a.makeIn(from, dir, base, flag|os.O_EXCL); err != unix.EEXIST {
			return fd, err
		}
	}
	return -1, errLeadsNowhere
}

var errLeadsNowhere = sys.Wrap("a link to where nothing is, through which no file is made in a mount namespace that somebody else made", unix.ELOOP)

// openThere opens a file that exists.
func (a openArgs) openThere(from openPlace, flag int, reopen reopener) (int, error) {
	w, err := findBy(from.fd, a.Name, flag, from.resolve|unix.RESOLVE_NO_MAGICLINKS)
	if err != nil {
		return -1, err
	}
	keep := false
	defer func() {
		if !keep {
			w.close()
		}
	}()
	switch path := flag&unix.O_PATH != 0; {
	case w.is(unix.S_IFLNK) && !path: // and O_NOFOLLOW
		return -1, unix.ELOOP
	case w.is(unix.S_IFDIR) && !path && flag&os.O_CREATE != 0:
		return -1, unix.EISDIR
	}
	if err := w.ordinary(); err != nil {
		return -1, err
	}
	if flag&unix.O_PATH != 0 {
		keep = true
		return w.fd, nil
	}
	return reopen(w.fd, flag&^(os.O_CREATE|os.O_EXCL))
}

// makeIn makes a file in a directory: under a new name, or without a name (O_TMPFILE).
func (a openArgs) makeIn(from openPlace, dir, base string, flag int) (int, error) {
	w, err := findBy(from.fd, dir, unix.O_DIRECTORY, from.resolve|unix.RESOLVE_NO_MAGICLINKS)
	if err != nil {
		return -1, err
	}
	defer w.close()
	if err := w.ordinary(); err != nil {
		return -1, err
	}
	return openat2(w.fd, base, a.how(flag, from.resolve|unix.RESOLVE_NO_SYMLINKS))
}

// findSocket finds a socket to which work inside may connect. It checks the permission here,
// because the process that connects may have more permissions.
func (a openArgs) findSocket(from openPlace) (int, error) {
	a.Flag = unix.O_PATH
	fd, err := a.lookUp(from, a.Flag)
	if err != nil {
		return -1, err
	}
	w := &found{fd: fd}
	if err := unix.Fstat(fd, &w.stat); err != nil {
		w.close()
		return -1, os.NewSyscallError("fstat", err)
	}
	if !w.is(unix.S_IFSOCK) {
		err = unix.ECONNREFUSED // as connect(2) says
	} else {
		err = unix.Faccessat2(w.fd, "", unix.W_OK, unix.AT_EMPTY_PATH|unix.AT_EACCESS)
	}
	if err != nil {
		w.close()
		return -1, err
	}
	return w.fd, nil
}

// cutPath gives the directory that a path goes through last, and the name in it. The name keeps
// slashes at its end, because they say that a directory is meant. cutPath does not clean the path:
// ".." after a link is the parent of the link's target.
func cutPath(path string) (dir, base string) {
	i := strings.LastIndexByte(strings.TrimRight(path, "/"), '/') + 1
	if dir, base = path[:i], path[i:]; dir == "" && base != "" {
		dir = "."
	}
	return dir, base
}

// modeBits is m as open(2) takes it.
func modeBits(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for flag, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: unix.S_ISUID, fs.ModeSetgid: unix.S_ISGID, fs.ModeSticky: unix.S_ISVTX} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return bits
}

var openInside builtin[openArgs, *os.File]

func registerOpen() *Func[openArgs, *os.File] {
	return openInside.get("gonso.open", func(_ context.Context, a openArgs) (*os.File, error) { return a.open(reopenAlone) }, LeavesThreadClean())
}

// openFile may run on a thread in a foreign mount namespace, because open(2) fills no caches of
// this process.
func (s *Set) openFile(ctx context.Context, root, name string, flag int, perm os.FileMode, theirs caution) (*os.File, error) {
	foreign, opened, err := s.foreignTypes(ctx, "open")
	if err != nil {
		return nil, err
	}
	a := openArgs{Name: name, Flag: flag, Perm: perm, Root: root, Foreign: foreign}
	begins := name
	if root != "" {
		begins = root
	}
	if a.Dir, err = s.beginning("open", begins); err != nil {
		if root != "" {
			err = about("InRoot", err)
		}
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	switch {
	case opened&Mount != 0:
		a.Caution = theirs
	case theirs == socketFile:
		a.Caution = ownSocket
	}
	f, err := insideSet(ctx, s, "open", registerOpen(), a, func() (*os.File, error) { return a.open(reopen) })
	if foreign&PID != 0 && errors.Is(err, errNoSelf) || errors.Is(err, errNoThreadFile) {
		f, err = inWorker(ctx, s, registerOpen(), a) // which has what no thread has
		if _, named := errors.AsType[*os.PathError](err); err != nil && !named {
			err = &os.PathError{Op: "open", Path: a.full(), Err: err}
		}
	}
	if err != nil {
		return nil, err
	}
	if err := s.refuseUsers(f, a.full(), foreign); err != nil {
		f.Close()
		return nil, err
	}
	return renamed(f, a.full())
}

// renamed is f with the name that errors of its methods have. A file that a worker sends has no
// name. renamed closes f if that is another file.
func renamed(f *os.File, name string) (*os.File, error) {
	if f.Name() == name {
		return f, nil
	}
	defer f.Close()
	fd := -1
	if err := sys.OnFD(f, func(of int) (err error) {
		fd, err = sys.DupFD(of)
		return os.NewSyscallError("fcntl", err)
	}); err != nil {
		return nil, err
	}
	return sys.NewFile(fd, name), nil
}

// findSocket finds a socket, and does not connect to it.
func (s *Set) findSocket(ctx context.Context, name string) (*os.File, error) {
	return s.openFile(ctx, "", name, unix.O_PATH, 0, socketFile)
}

// procPath is a path to the file of f, on threads that are at home.
func procPath(f *os.File) (path string, err error) {
	err = sys.OnFD(f, func(fd int) error {
		path = fmt.Sprintf("/proc/self/fd/%d", fd) // path: for connect(2), and looked at
		// Ask for facts that the kernel knows already. So the file system need not answer.
		const known = unix.AT_STATX_DONT_SYNC
		var st, is unix.Statx_t
		if err := unix.Statx(unix.AT_FDCWD, path, known, unix.STATX_INO, &st); err != nil {
			return &os.PathError{Op: "stat", Path: path, Err: err}
		}
		if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|known, unix.STATX_INO, &is); err != nil {
			return os.NewSyscallError("statx", err)
		}
		if st.Dev_major != is.Dev_major || st.Dev_minor != is.Dev_minor || st.Ino != is.Ino {
			return &os.PathError{Op: "stat", Path: path, Err: errOthersProc}
		}
		return nil
	})
	return path, err
}

var errOthersProc = errors.New("a procfs of another pid namespace is mounted on /proc")

type bindArgs struct {
	Socket  *os.File
	Path    string
	Dir     string // where Path begins, or ""
	Caution caution
}

// bind may change the working directory of the thread. It returns no file.
func (a bindArgs) bind() (*os.File, error) {
	in, path := a.Dir, a.Path
	if a.Caution != ownFile {
		in, path = cutPath(path)
	}
	if in != "" {
		// O_PATH needs no reopener.
		dir, err := openArgs{Name: in, Flag: unix.O_PATH | unix.O_DIRECTORY, Caution: a.Caution}.open(nil)
		if err != nil {
			return nil, err
		}
		defer dir.Close()
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return nil, os.NewSyscallError("unshare", err)
		}
		if err := dir.Chdir(); err != nil {
			return nil, err
		}
	}
	return nil, sys.OnFD(a.Socket, func(fd int) error {
		return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	})
}

var bindInside builtin[bindArgs, *os.File]

func registerBind() *Func[bindArgs, *os.File] {
	return bindInside.get("gonso.bind", func(_ context.Context, a bindArgs) (*os.File, error) { return a.bind() })
}

// bind binds a socket to a path inside.
func (s *Set) bind(ctx context.Context, op string, socket *os.File, path string) error {
	_, opened, err := s.foreignTypes(ctx, op)
	if err != nil {
		return err
	}
	a := bindArgs{Socket: socket, Path: path}
	if a.Dir, err = s.beginning(op, path); err != nil {
		return err
	}
	if opened&Mount != 0 {
		a.Caution = ordinaryFile
	}
	_, err = insideSet(ctx, s, op, registerBind(), a, a.bind)
	return err
}

// unixTypes are the networks of sockets with a path.
var unixTypes = map[string]int{"unix": unix.SOCK_STREAM, "unixpacket": unix.SOCK_SEQPACKET, "unixgram": unix.SOCK_DGRAM}

// listenAt makes a unix socket with a path inside, for packets or for connections.
func (s *Set) listenAt(ctx context.Context, network, path string, packets bool, control func(string, string, syscall.RawConn) error) (listens *os.File, err error) {
	typ, ok := unixTypes[network]
	if !ok || packets != (typ == unix.SOCK_DGRAM) {
		return nil, net.UnknownNetworkError(network)
	}
	f, err := s.socket(ctx, unix.AF_UNIX, typ|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if listens == nil { // control may panic, too
			f.Close()
		}
	}()
	if control != nil {
		raw, err := f.SyscallConn()
		if err != nil {
			return nil, err
		}
		if err := control(network, path, raw); err != nil {
			return nil, err
		}
	}
	if err := s.bind(ctx, "listen", f, path); err != nil {
		return nil, err
	}
	if packets {
		return f, nil
	}
	// The kernel lowers this to the limit of the socket's net namespace.
	if err := sys.OnFD(f, func(fd int) error { return os.NewSyscallError("listen", unix.Listen(fd, math.MaxInt32)) }); err != nil {
		return nil, err
	}
	return f, nil
}
