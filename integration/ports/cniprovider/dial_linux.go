package cniprovider

import (
	"context"
	"net"

	"github.com/gonso/gonso/gonso"
)

// DialContext connects from inside.
func (n *cniNS) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	s, caller, err := n.open()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	defer caller.Close()
	return s.Dialer(net.Dialer{Resolver: resolver(s, caller)}).DialContext(ctx, network, address)
}

// open opens the namespace, and that of the calling thread.
func (n *cniNS) open() (s, caller *gonso.Set, err error) {
	if caller, err = gonso.Current(gonso.Net); err != nil {
		return nil, nil, err
	}
	if s, err = gonso.Open(n.nativeID); err != nil {
		caller.Close()
	}
	return s, caller, err
}

// resolver asks inside. Name servers at a loopback address it asks where the caller is: inside is
// nobody at that address.
func resolver(s, caller *gonso.Set) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, server string) (net.Conn, error) {
		if isLoopback(server) {
			return caller.DialContext(ctx, network, server)
		}
		return s.DialContext(ctx, network, server)
	}}
}

func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	return net.ParseIP(host).IsLoopback()
}
