package gonso

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// Every socket knows the interfaces of its own net namespace (netdevice(7)), whichever process
// asks. So a socket from inside answers without its Set.

// zoneName is the name of an interface in the net namespace of the socket. If the interface is not
// there, it is the number.
func zoneName(fd int, index uint32) string {
	ifreq, err := unix.NewIfreq("")
	if err == nil {
		ifreq.SetUint32(index)
		err = unix.IoctlIfreq(fd, unix.SIOCGIFNAME, ifreq)
	}
	if err != nil {
		return strconv.FormatUint(uint64(index), 10)
	}
	return ifreq.Name()
}

// zoneIndex is the number of an interface in the net namespace of the socket.
func zoneIndex(fd int, name string) (uint32, error) {
	ifreq, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifreq)
	}
	if err == nil {
		return ifreq.Uint32(), nil
	}
	if n, nerr := strconv.ParseUint(name, 10, 32); nerr == nil {
		return uint32(n), nil
	}
	return 0, newError("find interface in", Net, name, err)
}

func (s *Set) zoneNumber(ctx context.Context, name string) (number string, err error) {
	f, err := s.socket(ctx, unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return number, sys.OnFD(f, func(fd int) error {
		n, err := zoneIndex(fd, name)
		number = strconv.FormatUint(uint64(n), 10)
		return err
	})
}

// nameZones corrects the zones in the addresses of a new socket. It changes package net's own
// values, which LocalAddr and RemoteAddr return each time. No caller has them yet.
func nameZones(c syscall.Conn, local, remote net.Addr, asked string) {
	wrong := func(a net.Addr) *string {
		ip, zone := zoneOf(a)
		if zone == nil || *zone == "" && (asked == "" || ip.To4() != nil || !ip.IsLinkLocalUnicast()) {
			return nil
		}
		return zone
	}
	l, r := wrong(local), wrong(remote)
	if l == nil && r == nil {
		return
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		if l != nil {
			*l = zoneOfSocket(int(fd), syscall.Getsockname, asked)
		}
		if r != nil {
			*r = zoneOfSocket(int(fd), syscall.Getpeername, asked)
		}
	})
}

// zoneOfSocket is the zone of one of a socket's addresses. The kernel may not tell: the peer may
// have gone, and a listening socket of MPTCP never tells.
func zoneOfSocket(fd int, address func(int) (syscall.Sockaddr, error), asked string) string {
	if sa, err := address(fd); err == nil {
		if in6, ok := sa.(*syscall.SockaddrInet6); ok && in6.ZoneId != 0 {
			return zoneName(fd, in6.ZoneId)
		}
	}
	if n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX); err == nil && n > 0 {
		return zoneName(fd, uint32(n))
	}
	return asked
}

// hasZones reports whether peers of a socket with this address can have zones.
func hasZones(local net.Addr) bool {
	ip, zone := zoneOf(local)
	return zone != nil && ip.To4() == nil && !ip.IsLoopback()
}

// conn is c with zones by their names inside.
func (z *zones) conn(c net.Conn) net.Conn {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return c
	}
	nameZones(sc, c.LocalAddr(), c.RemoteAddr(), "")
	if _, zone := zoneOf(c.RemoteAddr()); zone == nil || *zone == "" {
		return c
	}
	switch c := c.(type) {
	case *net.UDPConn:
		return udpConn{c}
	case *net.IPConn:
		return ipConn{c}
	}
	return c
}

func (z *zones) packets(c net.PacketConn) net.PacketConn {
	if sc, ok := c.(syscall.Conn); ok {
		nameZones(sc, c.LocalAddr(), nil, z.asked())
	}
	if !hasZones(c.LocalAddr()) {
		return c
	}
	switch c := c.(type) {
	case *net.UDPConn:
		return udpConn{c}
	case *net.IPConn:
		return ipConn{c}
	}
	return c
}

func (z *zones) listener(l net.Listener) net.Listener {
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return l
	}
	nameZones(tcp, tcp.Addr(), nil, z.asked())
	if !hasZones(tcp.Addr()) {
		return l
	}
	return tcpListener{tcp}
}

// tcpListener names the zones in the addresses of connections that it accepts.
type tcpListener struct{ *net.TCPListener }

func (l tcpListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (l tcpListener) AcceptTCP() (*net.TCPConn, error) {
	c, err := l.TCPListener.AcceptTCP()
	if err == nil {
		nameZones(c, c.LocalAddr(), c.RemoteAddr(), "")
	}
	return c, err
}

// packetSocket has the methods of *net.UDPConn and *net.IPConn that receive and send use.
type packetSocket interface {
	net.Conn
	syscall.Conn
}

// receive is recvmsg(2). It is here because package net does not tell the number of a zone.
func receive(c packetSocket, b, oob []byte) (n, oobn, flags int, from netip.AddrPort, err error) {
	raw, err := c.SyscallConn()
	if err == nil {
		var rerr error
		err = raw.Read(func(fd uintptr) bool {
			var sa syscall.Sockaddr
			for {
				n, oobn, flags, sa, rerr = syscall.Recvmsg(int(fd), b, oob, 0)
				if rerr != syscall.EINTR {
					break
				}
			}
			if in6, ok := sa.(*syscall.SockaddrInet6); ok && rerr == nil {
				ip := netip.AddrFrom16(in6.Addr)
				if in6.ZoneId != 0 {
					ip = ip.WithZone(zoneName(int(fd), in6.ZoneId))
				}
				from = netip.AddrPortFrom(ip, uint16(in6.Port))
			}
			return rerr != syscall.EAGAIN
		})
		if err == nil {
			err = os.NewSyscallError("recvmsg", rerr)
		}
	}
	if err != nil {
		return 0, 0, 0, netip.AddrPort{}, packetError("read", c, c.RemoteAddr(), err)
	}
	return n, oobn, flags, from, nil
}

// send is sendmsg(2) to an address with a zone.
func send(c packetSocket, b, oob []byte, to net.Addr, ip netip.Addr, port int) (n int, err error) {
	raw, err := c.SyscallConn()
	if err == nil {
		var werr error
		err = raw.Write(func(fd uintptr) bool {
			sa := &syscall.SockaddrInet6{Port: port, Addr: ip.As16()}
			if sa.ZoneId, werr = zoneIndex(int(fd), ip.Zone()); werr != nil {
				return true
			}
			for {
				n, werr = syscall.SendmsgN(int(fd), b, oob, sa, 0)
				if werr != syscall.EINTR {
					break
				}
			}
			return werr != syscall.EAGAIN
		})
		if errno, ok := werr.(syscall.Errno); ok {
			werr = os.NewSyscallError("sendmsg", errno)
		}
		if err == nil {
			err = werr
		}
	}
	if err != nil {
		return 0, packetError("write", c, to, err)
	}
	return n, nil
}

// packetError is err as package net would have it.
func packetError(op string, c net.Conn, addr net.Addr, err error) error {
	if oe, ok := errors.AsType[*net.OpError](err); ok {
		err = oe.Err
	}
	return &net.OpError{Op: op, Net: c.LocalAddr().Network(), Source: c.LocalAddr(), Addr: addr, Err: err}
}

// zoned is the IP address of a, and whether a packet to it needs send.
func zoned(c net.Conn, ip net.IP, zone string) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	return a.WithZone(zone), ok && zone != "" && ip.To4() == nil && c.RemoteAddr() == nil
}

// udpConn is a UDPConn whose addresses have zones by their names inside.
type udpConn struct{ *net.UDPConn }

func (c udpConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, a, err := c.ReadFromUDP(b)
	if err != nil {
		return n, nil, err
	}
	return n, a, nil
}

func (c udpConn) ReadFromUDP(b []byte) (int, *net.UDPAddr, error) {
	n, _, _, a, err := c.ReadMsgUDP(b, nil)
	return n, a, err
}

func (c udpConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, _, _, a, err := c.ReadMsgUDPAddrPort(b, nil)
	return n, a, err
}

func (c udpConn) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	n, oobn, flags, a, err := c.ReadMsgUDPAddrPort(b, oob)
	if err == nil {
		addr = net.UDPAddrFromAddrPort(a)
	}
	return n, oobn, flags, addr, err
}

func (c udpConn) ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error) {
	return receive(c.UDPConn, b, oob)
}

func (c udpConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	if a, ok := addr.(*net.UDPAddr); ok {
		return c.WriteToUDP(b, a)
	}
	return c.UDPConn.WriteTo(b, addr)
}

func (c udpConn) WriteToUDP(b []byte, addr *net.UDPAddr) (int, error) {
	if addr != nil {
		if ip, ok := zoned(c, addr.IP, addr.Zone); ok {
			return send(c.UDPConn, b, nil, addr, ip, addr.Port)
		}
	}
	return c.UDPConn.WriteToUDP(b, addr)
}

func (c udpConn) WriteToUDPAddrPort(b []byte, addr netip.AddrPort) (int, error) {
	if addr.Addr().Zone() != "" {
		return c.WriteToUDP(b, net.UDPAddrFromAddrPort(addr))
	}
	return c.UDPConn.WriteToUDPAddrPort(b, addr)
}

func (c udpConn) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	if addr != nil {
		if ip, ok := zoned(c, addr.IP, addr.Zone); ok {
			n, err = send(c.UDPConn, b, oob, addr, ip, addr.Port)
			return n, sent(oob, err), err
		}
	}
	return c.UDPConn.WriteMsgUDP(b, oob, addr)
}

func (c udpConn) WriteMsgUDPAddrPort(b, oob []byte, addr netip.AddrPort) (n, oobn int, err error) {
	if addr.Addr().Zone() != "" {
		return c.WriteMsgUDP(b, oob, net.UDPAddrFromAddrPort(addr))
	}
	return c.UDPConn.WriteMsgUDPAddrPort(b, oob, addr)
}

// sent is how many bytes of control data a message took: all of them or 0.
func sent(oob []byte, err error) int {
	if err != nil {
		return 0
	}
	return len(oob)
}

// ipConn is udpConn for raw sockets.
type ipConn struct{ *net.IPConn }

func (c ipConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, a, err := c.ReadFromIP(b)
	if err != nil {
		return n, nil, err
	}
	return n, a, nil
}

func (c ipConn) ReadFromIP(b []byte) (int, *net.IPAddr, error) {
	n, _, _, a, err := c.ReadMsgIP(b, nil)
	return n, a, err
}

func (c ipConn) ReadMsgIP(b, oob []byte) (n, oobn, flags int, addr *net.IPAddr, err error) {
	n, oobn, flags, a, err := receive(c.IPConn, b, oob)
	if err == nil {
		addr = &net.IPAddr{IP: a.Addr().AsSlice(), Zone: a.Addr().Zone()}
	}
	return n, oobn, flags, addr, err
}

func (c ipConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	if a, ok := addr.(*net.IPAddr); ok {
		return c.WriteToIP(b, a)
	}
	return c.IPConn.WriteTo(b, addr)
}

func (c ipConn) WriteToIP(b []byte, addr *net.IPAddr) (int, error) {
	if addr != nil {
		if ip, ok := zoned(c, addr.IP, addr.Zone); ok {
			return send(c.IPConn, b, nil, addr, ip, 0)
		}
	}
	return c.IPConn.WriteToIP(b, addr)
}

func (c ipConn) WriteMsgIP(b, oob []byte, addr *net.IPAddr) (n, oobn int, err error) {
	if addr != nil {
		if ip, ok := zoned(c, addr.IP, addr.Zone); ok {
			n, err = send(c.IPConn, b, oob, addr, ip, 0)
			return n, sent(oob, err), err
		}
	}
	return c.IPConn.WriteMsgIP(b, oob, addr)
}
