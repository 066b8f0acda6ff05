package gonso

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// zoneInside is an interface of inZoneSets, which the host does not have.
const zoneInside = "gonsozone"

// inZoneSets is inNetSets where an interface has the addresses fe80::1 and fe80::2. On the host its
// index is that of another one.
func inZoneSets(t *testing.T, f func(t *testing.T, s *Set)) {
	testenv.Need(t, testenv.IPRoute2)
	index := 77
	ifs, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range ifs {
		if i.Flags&net.FlagLoopback == 0 {
			index = i.Index
		}
	}
	inNetSets(t, func(t *testing.T, s *Set) {
		for _, args := range zoneLinks(fmt.Sprint(index)) {
			ip(t, s, args...)
		}
		f(t, s)
	})
}

// zoneLinks are the arguments of ip(8) that make the interface.
func zoneLinks(index string) [][]string {
	add := []string{"link", "add", zoneInside}
	if index != "" {
		add = append(add, "index", index)
	}
	// On older kernels, as Linux 5.10, the peer is made first, and would take the lowest free index.
	args := [][]string{append(add, "type", "veth", "peer", "name", "gonsopeer", "index", "1077")}
	for _, name := range []string{zoneInside, "gonsopeer"} {
		args = append(args, []string{"link", "set", name, "up"})
	}
	for _, a := range []string{"fe80::1", "fe80::2"} {
		args = append(args, []string{"addr", "add", a + "/64", "dev", zoneInside, "nodad"})
	}
	return args
}

// wantZone checks that addr is ip in the zone of inZoneSets.
func wantZone(t *testing.T, what string, addr net.Addr, ip string) {
	t.Helper()
	if addr == nil {
		t.Errorf("%s is nil", what)
		return
	}
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil { // without a port
		host = addr.String()
	}
	if want := ip + "%" + zoneInside; host != want {
		t.Errorf("%s is %v, want %s", what, addr, want)
	}
}

// ovn-kubernetes#5833, golang/go#81601: package net asks the host for the names of zones.
func TestZonesCannotBeNamedByTheHost(t *testing.T) {
	inZoneSets(t, func(t *testing.T, s *Set) {
		for _, at := range []string{"[fe80::1%" + zoneInside + "]:0", "[::]:0", ":0"} {
			l, err := s.Listen(t.Context(), "tcp", at)
			if err != nil {
				t.Error(err)
				continue
			}
			if strings.Contains(at, "fe80") {
				wantZone(t, "the listener's address", l.Addr(), "fe80::1")
			}
			_, port, _ := net.SplitHostPort(l.Addr().String())
			to := "[fe80::1%" + zoneInside + "]:" + port
			var seen string
			d := s.Dialer(net.Dialer{
				LocalAddr: &net.TCPAddr{IP: net.ParseIP("fe80::2"), Zone: zoneInside},
				Control:   func(_, address string, _ syscall.RawConn) error { seen = address; return nil },
			})
			conn, err := d.DialContext(t.Context(), "tcp", to)
			if err != nil {
				t.Fatal(err)
			}
			wantZone(t, "the local address", conn.LocalAddr(), "fe80::2")
			wantZone(t, "the remote address", conn.RemoteAddr(), "fe80::1")
			if seen != to {
				t.Errorf("Control sees %s, want %s", seen, to)
			}
			in, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			wantZone(t, "the accepted one's local address", in.LocalAddr(), "fe80::1")
			wantZone(t, "the accepted one's remote address", in.RemoteAddr(), "fe80::2")
			if _, ok := in.(*net.TCPConn); !ok {
				t.Errorf("accepted a %T", in)
			}
			in.Close()
			conn.Close()
			l.Close()
			_, err = d.DialContext(t.Context(), "tcp", to)
			wantError(t, "nobody listens", err, unix.ECONNREFUSED, to, "fe80::2%"+zoneInside)
		}
	})
}

// ovn-kubernetes#5833
func TestHTTPRequestCannotNameAZoneOfTheHost(t *testing.T) {
	inZoneSets(t, func(t *testing.T, s *Set) {
		l, err := s.Listen(t.Context(), "tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		from := make(chan string, 1)
		server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { from <- r.RemoteAddr })}
		done := make(chan struct{})
		go func() {
			defer close(done)
			server.Serve(l)
		}()
		defer func() {
			server.Close()
			<-done
		}()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		tr := &http.Transport{DialContext: s.DialContext}
		defer tr.CloseIdleConnections()
		resp, err := (&http.Client{Transport: tr, Timeout: testenv.Limit}).Get("http://[fe80::1%25" + zoneInside + "]:" + port + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if at := <-from; !strings.HasPrefix(at, "[fe80::1%"+zoneInside+"]:") {
			t.Errorf("a request from %s", at)
		}
	})
}

// Answers go where the question came from, and to zones by their names inside.
func TestPacketsCannotGoToAZoneOfTheHost(t *testing.T) {
	inZoneSets(t, func(t *testing.T, s *Set) {
		pc, err := s.ListenPacket(t.Context(), "udp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		c, ok := pc.(interface {
			ReadFromUDP([]byte) (int, *net.UDPAddr, error)
			ReadFromUDPAddrPort([]byte) (int, netip.AddrPort, error)
			ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error)
			ReadMsgUDPAddrPort(b, oob []byte) (n, oobn, flags int, addr netip.AddrPort, err error)
			WriteToUDP([]byte, *net.UDPAddr) (int, error)
			WriteToUDPAddrPort([]byte, netip.AddrPort) (int, error)
			WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error)
			WriteMsgUDPAddrPort(b, oob []byte, addr netip.AddrPort) (n, oobn int, err error)
			SyscallConn() (syscall.RawConn, error)
		})
		if !ok {
			t.Fatalf("a %T lacks methods of a UDPConn", pc)
		}
		_, port, _ := net.SplitHostPort(pc.LocalAddr().String())
		conn, err := s.DialContext(t.Context(), "udp", "[fe80::1%"+zoneInside+"]:"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		wantZone(t, "the local address", conn.LocalAddr(), "fe80::1")
		wantZone(t, "the remote address", conn.RemoteAddr(), "fe80::1")
		b := make([]byte, 16)
		conn.SetReadDeadline(time.Now().Add(testenv.Limit))
		addrPort := func(a netip.AddrPort, err error) (net.Addr, error) { return net.UDPAddrFromAddrPort(a), err }
		for name, turn := range map[string]struct {
			read  func() (net.Addr, error)
			write func(net.Addr) (int, error)
		}{
			"ReadFrom": {
				func() (net.Addr, error) { _, a, err := pc.ReadFrom(b); return a, err },
				func(a net.Addr) (int, error) { return pc.WriteTo([]byte("answer"), a) },
			},
			"ReadFromUDP": {
				func() (net.Addr, error) { _, a, err := c.ReadFromUDP(b); return a, err },
				func(a net.Addr) (int, error) { return c.WriteToUDP([]byte("answer"), a.(*net.UDPAddr)) },
			},
			"ReadFromUDPAddrPort": {
				func() (net.Addr, error) { _, a, err := c.ReadFromUDPAddrPort(b); return addrPort(a, err) },
				func(a net.Addr) (int, error) {
					return c.WriteToUDPAddrPort([]byte("answer"), a.(*net.UDPAddr).AddrPort())
				},
			},
			"ReadMsgUDP": {
				func() (net.Addr, error) { _, _, _, a, err := c.ReadMsgUDP(b, nil); return a, err },
				func(a net.Addr) (int, error) {
					n, _, err := c.WriteMsgUDP([]byte("answer"), nil, a.(*net.UDPAddr))
					return n, err
				},
			},
			"ReadMsgUDPAddrPort": {
				func() (net.Addr, error) { _, _, _, a, err := c.ReadMsgUDPAddrPort(b, nil); return addrPort(a, err) },
				func(a net.Addr) (int, error) {
					n, _, err := c.WriteMsgUDPAddrPort([]byte("answer"), nil, a.(*net.UDPAddr).AddrPort())
					return n, err
				},
			},
		} {
			var from net.Addr
			// The kernel notices later that a new interface has a cable, and has no route meanwhile.
			testenv.Eventually(t, name+": the question arrives", func() bool {
				if _, err := conn.Write([]byte("question")); err != nil {
					t.Log(err)
				}
				pc.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				from, err = turn.read()
				return !errors.Is(err, os.ErrDeadlineExceeded)
			})
			if err != nil || from.String() != conn.LocalAddr().String() {
				t.Fatalf("%s: from %v, %v; want %v", name, from, err, conn.LocalAddr())
			}
			if n, err := turn.write(from); err != nil || n != len("answer") {
				t.Errorf("%s: %d, %v", name, n, err)
				continue
			}
			n, back, err := conn.(net.PacketConn).ReadFrom(b)
			if err != nil || string(b[:n]) != "answer" || back.String() != conn.RemoteAddr().String() {
				t.Errorf("%s: %q from %v, %v", name, b[:n], back, err)
			}
		}
		_, err = pc.WriteTo(b, &net.UDPAddr{IP: net.ParseIP("fe80::1"), Port: 9, Zone: "nothere"})
		wantError(t, "no such interface", err, unix.ENODEV, "write udp", "nothere")
		// What has no zone goes the usual way.
		v4, err := s.DialContext(t.Context(), "udp", "127.0.0.1:"+port)
		if err != nil {
			t.Fatal(err)
		}
		defer v4.Close()
		if _, err := v4.Write([]byte("four")); err != nil {
			t.Error(err)
		}
		pc.SetReadDeadline(time.Now().Add(testenv.Limit))
		n, from, err := pc.ReadFrom(b)
		for err == nil && string(b[:n]) == "question" { // one that was late, and asked again
			n, from, err = pc.ReadFrom(b)
		}
		if err != nil || string(b[:n]) != "four" || from.String() != v4.LocalAddr().String() {
			t.Fatalf("%q from %v, %v", b[:n], from, err)
		}
		if _, err := pc.WriteTo([]byte("back"), from); err != nil {
			t.Error(err)
		}
		v4.SetReadDeadline(time.Now().Add(testenv.Limit))
		if n, err := v4.Read(b); err != nil || string(b[:n]) != "back" {
			t.Errorf("%q, %v", b[:n], err)
		}
		pc.SetReadDeadline(time.Now())
		_, _, err = pc.ReadFrom(b)
		var ne net.Error
		if e, ok := err.(net.Error); ok {
			ne = e
		}
		if ne == nil || !ne.Timeout() || !strings.HasPrefix(err.Error(), "read udp") {
			t.Errorf("past the deadline: %v", err)
		}
		pc.Close()
		_, _, err = pc.ReadFrom(b)
		wantError(t, "closed", err, net.ErrClosed, "read udp")
	})
}

// antrea-io/antrea#2196: an option that raw sockets do not take.
func TestRawIPv6CannotFailForAnOptionItDoesNotHave(t *testing.T) {
	testenv.Need(t, testenv.Root) // or CAP_NET_RAW
	inZoneSets(t, func(t *testing.T, s *Set) {
		// Type, code, checksum (the kernel's), identifier, sequence.
		echo := []byte{128, 0, 0, 0, 1, 2, 0, 1}
		for _, network := range []string{"ip6:ipv6-icmp", "ip6:58", "ip:58"} {
			for _, at := range []string{"::1", "fe80::1%" + zoneInside} {
				conn, err := s.DialContext(t.Context(), network, at)
				if err != nil {
					t.Errorf("%s %s: %v", network, at, err)
					continue
				}
				if got := cookie(t, conn.(syscall.Conn)); got != cookieOf(t, s) {
					t.Errorf("%s %s is in %d", network, at, got)
				}
				if conn.RemoteAddr().String() != at {
					t.Errorf("dialed %v, want %s", conn.RemoteAddr(), at)
				}
				conn.Close()

				pc, err := s.ListenPacket(t.Context(), network, at)
				if err != nil {
					t.Errorf("%s %s: %v", network, at, err)
					continue
				}
				if pc.LocalAddr().String() != at {
					t.Errorf("listens at %v, want %s", pc.LocalAddr(), at)
				}
				host, zone, _ := strings.Cut(at, "%")
				if _, err := pc.WriteTo(echo, &net.IPAddr{IP: net.ParseIP(host), Zone: zone}); err != nil {
					t.Error(err)
				}
				pc.SetReadDeadline(time.Now().Add(testenv.Limit))
				b := make([]byte, 64)
				n, from, err := pc.ReadFrom(b)
				for err == nil && b[0] != 129 { // the question comes by, too
					n, from, err = pc.ReadFrom(b)
				}
				if err != nil || n != len(echo) || from.String() != at {
					t.Errorf("%x from %v, %v", b[:n], from, err)
				}
				pc.Close()
			}
		}
	})
}

// A zone in hosts(5) means an interface inside, as any other does.
func TestZoneOfHostsCannotBeLost(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.IPRoute2)
	testenv.Leaks(t)
	s := unshare(t, User|Net|Mount, LoopbackUp())
	for _, args := range zoneLinks("") {
		ip(t, s, args...)
	}
	if _, err := etcInside.Do(t.Context(), s, map[string]string{"hosts": hostsWithZones}); err != nil {
		t.Fatal(err)
	}
	tryHostsZone(t.Context(), t.Errorf, s)
	// Where the program's own file counts, in a worker that has another one.
	said, err := hostsZone.Do(t.Context(), unshare(t, User|Mount), struct{}{})
	if err != nil || said != "" {
		t.Errorf("%v%s", err, said)
	}
}

var hostsZone = Register("test.net.hostszone", func(ctx context.Context, _ struct{}) (said string, err error) {
	hosts := map[string]string{"hosts": hostsWithZones, "resolv.conf": "nameserver 127.0.0.1\n"}
	if err := etc(hosts); err != nil {
		return "", err
	}
	s, err := Unshare(Net, LoopbackUp())
	if err != nil {
		return "", err
	}
	defer s.Close()
	path, err := testenv.LookPath("ip")
	if err != nil {
		return "", err
	}
	for _, args := range zoneLinks("") {
		if err := s.Run(exec.CommandContext(ctx, path, args...).Run); err != nil {
			return "", err
		}
	}
	tryHostsZone(ctx, func(format string, a ...any) { said += "\n" + fmt.Sprintf(format, a...) }, s)
	return said, nil
}, StartsGoroutines())

const hostsWithZones = "fe80::1%" + zoneInside + " linklocal.test\n127.0.0.1 linklocal.test\nfe80::1%nothere lost.test\n"

// tryHostsZone dials and listens at a name that hosts(5) has with a zone.
func tryHostsZone(ctx context.Context, errorf func(string, ...any), s *Set) {
	l, err := s.Listen(ctx, "tcp6", "linklocal.test:0")
	if err != nil {
		errorf("%v", err)
		return
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if l.Addr().String() != "[fe80::1%"+zoneInside+"]:"+port {
		errorf("listens at %v", l.Addr())
	}
	for _, network := range []string{"tcp", "tcp6"} {
		conn, err := s.DialContext(ctx, network, "linklocal.test:"+port)
		if err != nil {
			errorf("%s: %v", network, err)
			continue
		}
		if conn.RemoteAddr().String() != l.Addr().String() {
			errorf("%s: dialed %v, want %v", network, conn.RemoteAddr(), l.Addr())
		}
		conn.Close()
	}
	if conn, err := s.DialContext(ctx, "tcp4", "linklocal.test:"+port); err == nil {
		errorf("tcp4 reaches %v", conn.RemoteAddr())
		conn.Close()
	}
	if _, err := s.DialContext(ctx, "tcp", "lost.test:"+port); err == nil || !strings.Contains(err.Error(), "nothere") {
		errorf("a zone that is not there: %v", err)
	}
}
