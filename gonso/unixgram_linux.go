package gonso

import (
	"context"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bindAt binds a socket that is not used yet to a path inside.
func (s *Set) bindAt(ctx context.Context, rc syscall.RawConn, path string) error {
	fd := -1
	var err error
	if cerr := rc.Control(func(of uintptr) { fd, err = unix.FcntlInt(of, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil {
		return cerr
	}
	if err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	return s.bind(ctx, "dial", f, path)
}

// datagrams is c with a WriteTo that finds paths inside.
func (s *Set) datagrams(c net.PacketConn) net.PacketConn {
	if u, ok := c.(*net.UnixConn); ok {
		return &unixgramConn{UnixConn: u, s: s}
	}
	return c
}

// unixgramConn is a datagram socket in a Set with a mount namespace. It looks up the path of
// another socket inside, because the kernel would look it up in the mount namespace of the sending
// thread.
type unixgramConn struct {
	*net.UnixConn
	s *Set

	mu    sync.Mutex
	until time.Time // the write deadline
}

func (c *unixgramConn) SetDeadline(t time.Time) error {
	c.setUntil(t)
	return c.UnixConn.SetDeadline(t)
}

func (c *unixgramConn) SetWriteDeadline(t time.Time) error {
	c.setUntil(t)
	return c.UnixConn.SetWriteDeadline(t)
}

func (c *unixgramConn) setUntil(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.until = t
}

func (c *unixgramConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	if a, ok := addr.(*net.UnixAddr); ok {
		return c.WriteToUnix(b, a)
	}
	return c.UnixConn.WriteTo(b, addr)
}

func (c *unixgramConn) WriteToUnix(b []byte, addr *net.UnixAddr) (n int, err error) {
	if addr == nil { // package net reports a missing address
		return c.UnixConn.WriteToUnix(b, addr)
	}
	n, _, err = c.WriteMsgUnix(b, nil, addr)
	return n, err
}

func (c *unixgramConn) WriteMsgUnix(b, oob []byte, addr *net.UnixAddr) (n, oobn int, err error) {
	if addr == nil || addr.Net != "unixgram" || !isPath(addr.Net, addr.Name) {
		return c.UnixConn.WriteMsgUnix(b, oob, addr)
	}
	c.mu.Lock()
	until := c.until
	c.mu.Unlock()
	if most := time.Now().Add(stepTimeout); until.IsZero() || until.After(most) {
		until = most
	}
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	sent, err := c.writeInside(ctx, slices.Clone(b), slices.Clone(oob), addr) // a write that is left behind still reads them
	if err != nil {
		if ctx.Err() != nil {
			err = os.ErrDeadlineExceeded
		}
		return 0, 0, packetError("write", c.UnixConn, addr, err)
	}
	return sent[0], sent[1], nil
}

// writeInside writes to the socket that addr names inside.
func (c *unixgramConn) writeInside(ctx context.Context, b, oob []byte, addr *net.UnixAddr) (sent [2]int, err error) {
	f, err := c.s.findSocket(ctx, addr.Name)
	if err != nil {
		return sent, err
	}
	var n [2]int // valid once over is true
	over, err := atHome(ctx, func() error {
		defer f.Close()
		path, err := procPath(f)
		if err == nil {
			n[0], n[1], err = c.UnixConn.WriteMsgUnix(b, oob, &net.UnixAddr{Name: path, Net: addr.Net})
		}
		return err
	}, func() {})
	if over {
		sent = n
	}
	return sent, err
}
