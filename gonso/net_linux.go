package gonso

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// foreignTypes are the Set's types that are not home, and those that somebody
// else has made.
func (s *Set) foreignTypes(op string) (foreign, opened Type, err error) {
	c, err := s.acquire(op)
	if err != nil {
		return 0, 0, err
	}
	defer c.release()
	return c.foreign, c.opened, nil
}

type socketArgs struct{ Domain, Type, Proto int }

func (a socketArgs) socket() (*os.File, error) {
	fd, err := unix.Socket(a.Domain, a.Type|unix.SOCK_CLOEXEC, a.Proto)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}

var socketInside = Register("gonso.socket", func(_ context.Context, a socketArgs) (*os.File, error) { return a.socket() },
	LeavesThreadClean())

// socket makes one on a thread, which enters nothing but the net namespace, or in
// the worker.
func (s *Set) socket(ctx context.Context, domain, typ, proto int) (*os.File, error) {
	a := socketArgs{domain, typ, proto}
	return insideSet(ctx, s, "socket", Net, socketInside, a, a.socket)
}

// insideSet runs f where the Set's namespace of the given type is: here, on a
// thread, or, as fn, in the worker.
func insideSet[In any](ctx context.Context, s *Set, op string, typ Type, fn *Func[In, *os.File], in In, f func() (*os.File, error)) (*os.File, error) {
	c, err := s.acquire(op)
	if err != nil {
		return nil, err
	}
	defer c.release()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	switch {
	case c.foreign&typ == 0:
		return f()
	case c.foreign&(User|Time) != 0:
		ctx, cancel := context.WithTimeout(ctx, stepTimeout) // it is not the caller's own function
		defer cancel()
		return fn.Do(ctx, s, in, InProcess())
	}
	join := []Type{typ}
	if typ == Mount { // what /proc and /sys show is that of the others
		join = c.threadJoin
	}
	var file *os.File
	var ferr error
	letGo := func() {
		if file != nil {
			file.Close()
		}
	}
	err = c.runOnThread(ctx, join, func(*threadRun) bool {
		file, ferr = f()
		return true
	}, letGo)
	switch {
	case errors.Is(err, sys.ErrLeftBehind):
		return nil, err
	case err != nil:
		letGo()
		return nil, err
	}
	return file, ferr
}

// replaceSocket puts a socket that is made inside in the place of one that
// package net has made outside and not used yet.
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
		// As package net does where there is none.
		inside, err = s.socket(ctx, of[0], of[1]|unix.SOCK_NONBLOCK, unix.IPPROTO_TCP)
	}
	if err != nil {
		return err
	}
	defer inside.Close()
	return sys.OnFD(inside, func(in int) error {
		if err := copySockopts(fd, in, of[0]); err != nil {
			return err
		}
		return os.NewSyscallError("dup3", unix.Dup3(in, fd, unix.O_CLOEXEC))
	})
}

// copySockopts copies what package net sets before it calls Control
// (net/sockopt_linux.go).
func copySockopts(from, to, domain int) error {
	opts := [][2]int{{unix.SOL_SOCKET, unix.SO_BROADCAST}, {unix.SOL_SOCKET, unix.SO_REUSEADDR}}
	if domain == unix.AF_INET6 {
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

// zoned has the zone of an address, the name of an interface inside, replaced by
// its number: package net would look for it outside.
func (s *Set) zoned(ctx context.Context, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address, nil // package net says what is wrong with it
	}
	ip, zone, ok := strings.Cut(host, "%")
	if _, err := strconv.Atoi(zone); !ok || zone == "" || err == nil {
		return address, nil
	}
	f, err := s.socket(ctx, unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	ifreq, err := unix.NewIfreq(zone)
	if err == nil {
		err = sys.OnFD(f, func(fd int) error { return unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifreq) })
	}
	if err != nil {
		return "", newError("find interface in", Net, zone, err)
	}
	return net.JoinHostPort(ip+"%"+strconv.FormatUint(uint64(ifreq.Uint32()), 10), port), nil
}

type lookupArgs struct{ Network, Host string }

var lookupInside = Register("gonso.lookup", func(ctx context.Context, a lookupArgs) ([]netip.Addr, error) {
	return net.DefaultResolver.LookupNetIP(ctx, a.Network, a.Host)
}, StartsGoroutines())

// lookupTimeout is how long a resolver inside may take, whatever is configured there.
const lookupTimeout = 2 * time.Minute

// lookup resolves a name inside. Without need of a worker it does without: the
// program may have no Init.
func (s *Set) lookup(ctx context.Context, foreign Type, network, host string) (ips []netip.Addr, err error) {
	if foreign&(User|Time|Mount) != 0 {
		ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
		ips, err = lookupInside.Do(ctx, s, lookupArgs{network, host}, InProcess())
	} else {
		r := &net.Resolver{PreferGo: true, Dial: s.DialContext}
		ips, err = r.LookupNetIP(ctx, network, host)
		// Package net has put them in the order that is right outside.
		slices.SortStableFunc(ips, func(a, b netip.Addr) int { return s.unusable(ctx, a) - s.unusable(ctx, b) })
	}
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	if err == nil && len(ips) == 0 {
		err = &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return ips, err
}

// unusable is 1 if nothing inside leads to ip (RFC 6724, rule 1), which connecting
// a datagram socket tells without sending anything.
func (s *Set) unusable(ctx context.Context, ip netip.Addr) int {
	conn, err := s.DialContext(ctx, "udp", netip.AddrPortFrom(ip, 9).String())
	if err != nil {
		return 1
	}
	conn.Close()
	return 0
}
