package gonso

import (
	"fmt"
	"net"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

type families = struct{ v6, v4 net.IP }

// serveNamesAsConfigured is serveNames where the resolver of the Set asks.
func serveNamesAsConfigured(t *testing.T, s *Set, names map[string]families) {
	t.Helper()
	testenv.Need(t, testenv.IPRoute2)
	server := nameServer(t)
	if s.Has(Mount) { // there the configuration inside counts
		if _, err := etcInside.Do(t.Context(), s, map[string]string{"resolv.conf": "nameserver 127.0.0.1\n", "hosts": ""}); err != nil {
			t.Fatal(err)
		}
		server = "127.0.0.1"
	} else if !strings.HasPrefix(server, "127.") {
		ip(t, s, "addr", "add", server, "dev", "lo")
	}
	serveNames(t, s, net.JoinHostPort(server, "53"), names)
}

// freePort is one where nobody listens in the Set.
func freePort(t *testing.T, s *Set) string {
	t.Helper()
	l, err := s.Listen(t.Context(), "tcp", "[::]:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// Package net leaves addresses of the other family out first.
func TestLocalAddressCannotHideWhyDialingFails(t *testing.T) {
	inNetSets(t, func(t *testing.T, s *Set) {
		serveNamesAsConfigured(t, s, map[string]families{
			"both": {net.IPv6loopback, net.IPv4(127, 0, 0, 1)},
			"four": {nil, net.IPv4(127, 0, 0, 1)},
		})
		port := freePort(t, s)
		for _, local := range []string{"127.0.0.1", "::1"} {
			d := s.Dialer(net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(local)}})
			_, err := d.DialContext(t.Context(), "tcp", "both.test.:"+port)
			wantError(t, "from "+local, err, unix.ECONNREFUSED, net.JoinHostPort(local, port))
		}
		for _, all := range []net.IP{nil, net.IPv4zero} {
			_, err := s.Dialer(net.Dialer{LocalAddr: &net.TCPAddr{IP: all}}).DialContext(t.Context(), "tcp4", "both.test.:"+port)
			wantError(t, "from "+all.String(), err, unix.ECONNREFUSED, "127.0.0.1:"+port)
		}
		_, err := s.Dialer(net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv6loopback}}).DialContext(t.Context(), "tcp", "four.test.:"+port)
		if err == nil || !strings.Contains(err.Error(), "address [::1]:0: no suitable address found") {
			t.Errorf("none of that family: %v", err)
		}
		_, err = s.Dialer(net.Dialer{LocalAddr: &net.UDPAddr{IP: net.IPv6loopback}}).DialContext(t.Context(), "tcp", "both.test.:"+port)
		if err == nil || !strings.Contains(err.Error(), "mismatched local address type") {
			t.Errorf("of another network: %v", err)
		}
	})
}

// Sockets that ask for names are no attempts to connect, and asking is told, in every Set.
func TestHTTPTraceCannotMistakeNamesForConnections(t *testing.T) {
	inNetSets(t, func(t *testing.T, s *Set) {
		serveNamesAsConfigured(t, s, map[string]families{"both": {net.IPv6loopback, net.IPv4(127, 0, 0, 1)}})
		port := freePort(t, s)
		for _, name := range []string{"both.test.", "neither.test."} {
			var mu sync.Mutex
			var said []string
			say := func(format string, a ...any) {
				mu.Lock()
				defer mu.Unlock()
				said = append(said, fmt.Sprintf(format, a...))
			}
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				DNSStart: func(i httptrace.DNSStartInfo) { say("ask for %s", i.Host) },
				DNSDone: func(i httptrace.DNSDoneInfo) {
					var ips []string
					for _, a := range i.Addrs {
						ips = append(ips, a.String())
					}
					slices.Sort(ips)
					say("got %v, failed %v", ips, i.Err != nil)
				},
				ConnectStart: func(network, addr string) { say("connect %s %s", network, addr) },
				ConnectDone:  func(network, addr string, err error) { say("failed %s %s %v", network, addr, err != nil) },
			})
			if _, err := s.DialContext(ctx, "tcp", name+":"+port); err == nil {
				t.Errorf("%s: somebody listens", name)
			}
			var want []string
			if name == "both.test." {
				want = []string{"ask for both.test.", "got [127.0.0.1 ::1], failed false"}
				for _, host := range []string{"127.0.0.1", "::1"} {
					a := net.JoinHostPort(host, port)
					want = append(want, "connect tcp "+a, "failed tcp "+a+" true")
				}
			} else {
				want = []string{"ask for neither.test.", "got [], failed true"}
			}
			mu.Lock()
			got := slices.Clone(said)
			mu.Unlock()
			if len(got) < 2 || !slices.Equal(got[:2], want[:2]) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
	})
}

// Name servers of a Set's own, of which the first is not there.
func TestResolverCannotAskAnotherServer(t *testing.T) {
	inNetSets(t, func(t *testing.T, s *Set) {
		testenv.Need(t, testenv.IPRoute2)
		ip(t, s, "addr", "add", "192.0.2.53", "dev", "lo")
		names := map[string]families{"own": {net.IPv6loopback, net.IPv4(127, 0, 0, 1)}}
		serveNames(t, s, "127.0.0.9:5353", names)
		serveNames(t, s, "192.0.2.53:53", names)
		port := freePort(t, s)
		for _, servers := range [][]string{{"127.0.0.9:5353"}, {"192.0.2.53"}, {"127.0.0.8", "127.0.0.8:5353", "127.0.0.9:5353"}} {
			r := s.Resolver(servers...)
			ips, err := r.LookupNetIP(t.Context(), "ip4", "own.test.")
			if err != nil || len(ips) != 1 || ips[0].Unmap().String() != "127.0.0.1" {
				t.Errorf("%q: %v, %v", servers, ips, err)
			}
			_, err = s.Dialer(net.Dialer{Resolver: r}).DialContext(t.Context(), "tcp", "own.test.:"+port)
			wantError(t, strings.Join(servers, " "), err, unix.ECONNREFUSED)
		}
		for _, server := range []string{"", "ns.test", "127.0.0.9:domain", "127.0.0.9:"} {
			_, err := s.Resolver("127.0.0.9:5353", server).LookupHost(t.Context(), "own.test.")
			if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("the server %q is not an IP address", server)) {
				t.Errorf("%q: %v", server, err)
			}
		}
	})
}

// One that does not answer has its share of the time, and no more.
func TestSilentNameServerCannotKeepTheNextOneFromBeingAsked(t *testing.T) {
	inNetSets(t, func(t *testing.T, s *Set) {
		silent, err := s.ListenPacket(t.Context(), "udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		serveNames(t, s, "127.0.0.9:5353", map[string]families{"own": {nil, net.IPv4(127, 0, 0, 1)}})
		conn, err := askInTurn(t.Context(), s, "udp", []string{silent.LocalAddr().String(), "127.0.0.8:53", "127.0.0.9:5353"})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(500 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		// own.test, an address of IPv4.
		q := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03own\x04test\x00\x00\x01\x00\x01")
		if _, err := conn.Write(q); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 512)
		n, err := conn.Read(b)
		if err != nil || n < len(q) || b[2]&0x80 == 0 || conn.RemoteAddr().String() != "127.0.0.9:5353" {
			t.Errorf("%x from %v, %v", b[:n], conn.RemoteAddr(), err)
		}
		if _, ok := conn.(net.PacketConn); !ok {
			t.Errorf("package net takes a %T for TCP", conn)
		}
	})
}
