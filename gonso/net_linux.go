package gonso

import (
	"context"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

type socketArgs struct{ Domain, Type, Proto int }

func (a socketArgs) socket() (*os.File, error) {
	fd, err := unix.Socket(a.Domain, a.Type|unix.SOCK_CLOEXEC, a.Proto)
	if err != nil {
		err = os.NewSyscallError("socket", err)
		if hint := a.hint(err); hint != "" {
			err = newError("make", 0, "", err).withHint(hint)
		}
		return nil, err
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}

// hint says why a thread in the net namespace may not make the socket.
func (a socketArgs) hint(err error) string {
	switch typ := a.Type &^ (unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC); {
	case errors.Is(err, unix.EACCES) && typ == unix.SOCK_DGRAM && (a.Proto == unix.IPPROTO_ICMP || a.Proto == unix.IPPROTO_ICMPV6):
		return "the sysctl net.ipv4.ping_group_range of its net namespace has no group of this process; " +
			"root there can widen it: sysctl -w net.ipv4.ping_group_range=\"0 2147483647\""
	case errors.Is(err, unix.EPERM) && (typ == unix.SOCK_RAW || a.Domain == unix.AF_PACKET) && !hasCapability(unix.CAP_NET_RAW):
		return "it takes CAP_NET_RAW in the user namespace that owns the net namespace; where a user namespace is made along with it, that is had there"
	}
	return ""
}

// pingGroups is the sysctl with the groups that may have sockets for ICMP echo requests.
const pingGroups = "net/ipv4/ping_group_range"

var socketInside builtin[socketArgs, *os.File]

func registerSocket() *Func[socketArgs, *os.File] {
	return socketInside.get("gonso.socket", func(_ context.Context, a socketArgs) (*os.File, error) { return a.socket() }, LeavesThreadClean())
}

// socket makes a socket inside.
func (s *Set) socket(ctx context.Context, domain, typ, proto int) (*os.File, error) {
	a := socketArgs{domain, typ, proto}
	return insideSet(ctx, s, "socket", registerSocket(), a, a.socket)
}

// replaceSocket replaces a socket that package net has made outside, and has not used yet, with a
// new one that is made inside.
func (s *Set) replaceSocket(ctx context.Context, rc syscall.RawConn) error {
	var err error
	if cerr := rc.Control(func(fd uintptr) { err = s.replaceFD(ctx, int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

func (s *Set) replaceFD(ctx context.Context, fd int) error {
	var of [3]int
	for i, opt := range []int{unix.SO_DOMAIN, unix.SO_TYPE, unix.SO_PROTOCOL} {
		var err error
		if of[i], err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt); err != nil {
			return os.NewSyscallError("getsockopt", err)
		}
	}
	inside, err := s.socket(ctx, of[0], of[1]|unix.SOCK_NONBLOCK, of[2])
	if err != nil && of[2] == unix.IPPROTO_MPTCP && ctx.Err() == nil {
		// Package net also uses TCP if the system has no MPTCP.
		inside, err = s.socket(ctx, of[0], of[1]|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	}
	if err != nil {
		return err
	}
	defer inside.Close()
	return sys.OnFD(inside, func(in int) error {
		if err := copySockopts(fd, in, of[0], of[1]); err != nil {
			return err
		}
		return os.NewSyscallError("dup3", unix.Dup3(in, fd, unix.O_CLOEXEC))
	})
}

// copySockopts copies the options that package net sets before it calls Control
// (net/sockopt_linux.go).
func copySockopts(from, to, domain, typ int) error {
	opts := [][2]int{{unix.SOL_SOCKET, unix.SO_BROADCAST}, {unix.SOL_SOCKET, unix.SO_REUSEADDR}}
	if domain == unix.AF_INET6 && typ != unix.SOCK_RAW { // raw sockets do not have this option
		opts = append(opts, [2]int{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY})
	}
	for _, o := range opts {
		v, err := unix.GetsockoptInt(from, o[0], o[1])
		if err == nil {
			err = unix.SetsockoptInt(to, o[0], o[1], v)
		}
		if err != nil {
			return os.NewSyscallError("setsockopt", err)
		}
	}
	return nil
}
