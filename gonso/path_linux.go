package gonso

import (
	"context"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// What has a path in a Set's mount namespace: files, and unix sockets.
//
// Where somebody else has made that namespace, the links of procfs in it would
// lead out, to what this process may reach and they may not: they are not followed
// then.

type openArgs struct {
	Name         string
	Flag         int
	Perm         os.FileMode
	NoMagicLinks bool
}

// open does not wait, as opening a FIFO would: nothing could end that.
func (a openArgs) open() (*os.File, error) {
	flag := a.Flag
	if flag&unix.O_PATH == 0 {
		flag |= unix.O_NONBLOCK
	}
	f, err := a.openAs(flag)
	if err == nil && flag != a.Flag && f.SetDeadline(time.Time{}) != nil {
		// The poller does not know it, as os.OpenFile would have found.
		err = sys.OnFD(f, func(fd int) error { return os.NewSyscallError("fcntl", unix.SetNonblock(fd, false)) })
		if err != nil {
			f.Close()
			f = nil
		}
	}
	return f, err
}

func (a openArgs) openAs(flag int) (*os.File, error) {
	if !a.NoMagicLinks {
		return os.OpenFile(a.Name, flag, a.Perm)
	}
	how := unix.OpenHow{Flags: uint64(flag | unix.O_CLOEXEC), Resolve: unix.RESOLVE_NO_MAGICLINKS}
	if flag&unix.O_PATH == 0 {
		how.Flags |= unix.O_LARGEFILE
	}
	if flag&os.O_CREATE != 0 || flag&unix.O_TMPFILE == unix.O_TMPFILE { // else a mode is an error
		how.Mode = uint64(modeBits(a.Perm))
	}
	for {
		fd, err := unix.Openat2(unix.AT_FDCWD, a.Name, &how)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), a.Name), nil
		case unix.EINTR:
			continue
		}
		return nil, &os.PathError{Op: "open", Path: a.Name, Err: err}
	}
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

var openInside = Register("gonso.open", func(_ context.Context, a openArgs) (*os.File, error) { return a.open() },
	LeavesThreadClean())

// openFile does not care for the caches that a foreign mount namespace can fill:
// open(2) fills none.
func (s *Set) openFile(ctx context.Context, name string, flag int, perm os.FileMode) (*os.File, error) {
	_, opened, err := s.foreignTypes("open")
	if err != nil {
		return nil, err
	}
	a := openArgs{name, flag, perm, opened&Mount != 0}
	return insideSet(ctx, s, "open", Mount, openInside, a, a.open)
}

// openPath finds a file without opening it.
func (s *Set) openPath(ctx context.Context, name string) (*os.File, error) {
	return s.openFile(ctx, name, unix.O_PATH, 0)
}

// procPath is a path to what f refers to.
func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// atHome runs f where procPath means that.
func atHome(f func()) { procfs.AtHome(f) }

type bindArgs struct {
	Socket       *os.File
	Path         string
	NoMagicLinks bool
}

// bind may leave the thread with another working directory, and no file.
func (a bindArgs) bind() (*os.File, error) {
	path := a.Path
	if a.NoMagicLinks {
		dir, err := openArgs{Name: filepath.Dir(path), Flag: unix.O_PATH | unix.O_DIRECTORY, NoMagicLinks: true}.open()
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
		path = filepath.Base(path)
	}
	return nil, sys.OnFD(a.Socket, func(fd int) error {
		return os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	})
}

var bindInside = Register("gonso.bind", func(_ context.Context, a bindArgs) (*os.File, error) { return a.bind() })

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
	_, opened, err := s.foreignTypes("listen")
	if err != nil {
		return nil, err
	}
	a := bindArgs{f, path, opened&Mount != 0}
	if _, err := insideSet(ctx, s, "listen", Mount, bindInside, a, a.bind); err != nil {
		return nil, err
	}
	if packets {
		return f, nil
	}
	// The kernel takes as many as the socket's net namespace allows.
	if err := sys.OnFD(f, func(fd int) error { return os.NewSyscallError("listen", unix.Listen(fd, math.MaxInt32)) }); err != nil {
		return nil, err
	}
	return f, nil
}
