package gonso

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"time"
)

// Resolver returns a net.Resolver that asks from inside the Set: Go's own resolver, with sockets
// made inside. servers are the name servers, each an IP address with a port, or without one for
// port 53. They are asked in turn, each with its share of the time, until one answers. Without
// servers, the servers of this program's resolv.conf(5) are asked. Use it with [Set.Dialer] to
// connect by names that only these servers know:
//
//	d := s.Dialer(net.Dialer{Resolver: s.Resolver("10.0.0.53")})
//	t := &http.Transport{DialContext: d.DialContext}
//
// All else is still this program's: hosts(5), search domains and time limits. To change these, too,
// as ip-netns(8) does with the files in /etc/netns, use a Set with a mount namespace that has the
// files in /etc. Names are then resolved there: see [Set.Dialer].
//
// If a server is not an IP address, each look-up fails with an error that names it. It needs the
// privileges of [Set.Socket]. Close the Set after the last look-up has begun.
func (s *Set) Resolver(servers ...string) *net.Resolver {
	at, bad := serverAddresses(servers)
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		if bad != nil {
			return nil, bad
		}
		ctx = withoutValues{ctx} // httptrace must not see the connections to name servers
		if len(at) == 0 {
			return s.DialContext(ctx, network, address)
		}
		return askInTurn(ctx, s, network, at)
	}}
}

// serverAddresses are name servers with their ports.
func serverAddresses(servers []string) (at []string, err error) {
	for _, server := range servers {
		if ap, err := netip.ParseAddrPort(server); err == nil {
			at = append(at, ap.String())
		} else if ip, err := netip.ParseAddr(server); err == nil {
			at = append(at, net.JoinHostPort(ip.String(), "53"))
		} else {
			return nil, newError("resolve", 0, "", fmt.Errorf("the server %q is not an IP address, with a port or without: %w", server, os.ErrInvalid))
		}
	}
	return at, nil
}

// askInTurn connects to the first server that takes the connection. Over UDP, connecting says
// nothing about the server, so questions are asked again.
func askInTurn(ctx context.Context, s *Set, network string, servers []string) (net.Conn, error) {
	q := &question{next: func() (net.Conn, error) {
		var firstErr error
		for len(servers) > 0 {
			server := servers[0]
			servers = servers[1:]
			c, err := s.DialContext(ctx, network, server)
			if err == nil {
				return c, nil
			}
			if firstErr == nil {
				firstErr = err
			}
		}
		return nil, firstErr
	}, left: func() int { return len(servers) }}
	c, err := q.next()
	if err != nil {
		return nil, err
	}
	packets, ok := c.(packetConn)
	if !ok {
		return c, nil
	}
	q.packetConn = packets
	return q, nil
}

// packetConn is the interface by which package net knows that a connection is UDP.
type packetConn interface {
	net.Conn
	net.PacketConn
}

// question is a connection to a name server, and then to the next one if there was no answer.
// Package net sets a deadline, writes once, and reads until it has the answer.
type question struct {
	packetConn
	next func() (net.Conn, error) // returns a nil Conn and no error if there is no further server
	left func() int

	asked    []byte
	deadline time.Time
}

func (q *question) SetDeadline(t time.Time) error {
	q.deadline = t
	return q.share()
}

// share gives the server its part of the time that is left.
func (q *question) share() error {
	t := q.deadline
	if !t.IsZero() {
		now := time.Now()
		t = now.Add(t.Sub(now) / time.Duration(1+q.left()))
	}
	return q.packetConn.SetDeadline(t)
}

func (q *question) Write(b []byte) (int, error) {
	q.asked = slices.Clone(b)
	n, err := q.packetConn.Write(b)
	if err != nil && q.ask() {
		return len(b), nil
	}
	return n, err
}

func (q *question) Read(b []byte) (int, error) {
	for {
		n, err := q.packetConn.Read(b)
		if err == nil || !q.ask() {
			return n, err
		}
	}
}

// ask asks the next server, and reports whether there is one.
func (q *question) ask() bool {
	for {
		c, err := q.next()
		if err != nil || c == nil {
			return false
		}
		q.packetConn.Close()
		q.packetConn = c.(packetConn)
		if q.share() != nil {
			continue
		}
		if _, err := q.packetConn.Write(q.asked); err == nil {
			return true
		}
	}
}

// lookupIn is r.LookupNetIP, but keeps the zones that hosts(5) may have.
func lookupIn(ctx context.Context, r *net.Resolver, network, host string) ([]netip.Addr, error) {
	ips, err := r.LookupNetIP(ctx, network, host)
	for i := range ips {
		ips[i] = ips[i].Unmap()
	}
	zoned := func(ip netip.Addr) bool {
		return ip.Is6() && (ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsInterfaceLocalMulticast())
	}
	if err != nil || !slices.ContainsFunc(ips, zoned) {
		return ips, err
	}
	all, err := r.LookupIPAddr(withoutValues{ctx}, host)
	if err != nil {
		return nil, err
	}
	ips = ips[:0]
	for _, a := range all {
		ip, ok := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); ok && (network == "ip" || (network == "ip4") == ip.Is4()) {
			ips = append(ips, ip.WithZone(a.Zone))
		}
	}
	return ips, nil
}

// traced looks a name up by ask, as if package net's resolver did it. So package net calls the
// hooks of net/http/httptrace, which other packages cannot call.
func traced(ctx context.Context, network, host string, ask func() ([]netip.Addr, error)) (ips []netip.Addr, err error) {
	asked := false
	c := answering{context.WithoutCancel(ctx), func(context.Context, string, string) ([]net.IPAddr, error) {
		asked = true
		ips, err = ask()
		var as []net.IPAddr
		for _, ip := range ips {
			as = append(as, net.IPAddr{IP: ip.AsSlice(), Zone: ip.Zone()})
		}
		return as, err
	}}
	// A later package net may not call ask here. Then this resolver must send nothing.
	r := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, os.ErrInvalid }}
	_, _ = r.LookupNetIP(c, network, host) // the results of ask count
	if !asked {
		return ask()
	}
	return ips, err
}

// answering is a context that makes package net use another look-up in place of its own. Package
// net has this for the tests of net/http (lookupIPAddr in net/lookup.go).
type answering struct {
	context.Context
	lookup func(ctx context.Context, network, host string) ([]net.IPAddr, error)
}

func (a answering) Value(key any) any {
	if t := reflect.TypeOf(key); t != nil && t.String() == "nettrace.LookupIPAltResolverKey" {
		return a.lookup
	}
	return a.Context.Value(key)
}
