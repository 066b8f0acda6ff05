package gonso

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"time"
)

type lookupArgs struct{ Network, Host string }

var lookupInside builtin[lookupArgs, []netip.Addr]

func registerLookup() *Func[lookupArgs, []netip.Addr] {
	return lookupInside.get("gonso.lookup", func(ctx context.Context, a lookupArgs) ([]netip.Addr, error) {
		return lookupIn(ctx, net.DefaultResolver, a.Network, a.Host)
	}, StartsGoroutines())
}

// lookupTimeout is how long a resolver inside may take. It overrides longer times that are
// configured there.
const lookupTimeout = 2 * time.Minute

// lookup resolves a name inside. It uses a worker only if it needs one, because the program may not
// call Init.
func (s *Set) lookup(ctx context.Context, foreign Type, network, host string) (ips []netip.Addr, err error) {
	if foreign&(User|Time|Mount) != 0 {
		ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
		ips, err = traced(ctx, network, host, func() ([]netip.Addr, error) {
			return registerLookup().Do(ctx, s, lookupArgs{network, host}, InProcess())
		})
	} else {
		// Use the program's own files, even if the caller's thread is in other namespaces.
		var found []netip.Addr
		var over bool
		over, err = atHome(ctx, func() (err error) {
			found, err = lookupIn(ctx, s.Resolver(), network, host)
			return err
		}, func() {})
		if over {
			ips = found
		}
		// The order that package net gives the addresses is the right one outside.
		slices.SortStableFunc(ips, func(a, b netip.Addr) int { return s.unusable(ctx, a) - s.unusable(ctx, b) })
	}
	if err == nil && len(ips) == 0 {
		err = &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return ips, err
}

// unusable is 1 if there is no route to ip inside (RFC 6724, rule 1). It connects a datagram
// socket, which finds that out and sends nothing.
func (s *Set) unusable(ctx context.Context, ip netip.Addr) int {
	conn, err := s.DialContext(withoutValues{ctx}, "udp", netip.AddrPortFrom(ip, 9).String())
	if err != nil {
		return 1
	}
	conn.Close()
	return 0
}
