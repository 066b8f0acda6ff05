package gonso

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// zones are the zones of one call to dial or listen: interfaces inside. Package net would look a
// name up among the interfaces outside, so it gets numbers. The names are put back into the
// addresses and errors that it returns.
type zones struct {
	s     *Set
	names map[string]string // by number
}

// number is the number of an interface inside.
func (z *zones) number(ctx context.Context, name string) (string, error) {
	n, err := z.s.zoneNumber(ctx, name)
	if err == nil {
		if z.names == nil {
			z.names = make(map[string]string, 1)
		}
		z.names[n] = name
	}
	return n, err
}

// asked is the zone that the caller has named, or "" if it was not exactly one.
func (z *zones) asked() string {
	if len(z.names) == 1 {
		for _, name := range z.names {
			return name
		}
	}
	return ""
}

// numbered is an address with its zone as a number.
func (z *zones) numbered(ctx context.Context, network, address string) (string, error) {
	host, with := hostIn(network, address)
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() == "" {
		return address, nil
	}
	n, err := z.number(ctx, ip.Zone())
	return with(ip.WithZone(n).String()), err
}

// found gives the addresses with their zones as numbers. It leaves out each address whose zone is
// not an interface inside.
func (z *zones) found(ctx context.Context, ips []netip.Addr) ([]netip.Addr, error) {
	var here []netip.Addr
	var missing error
	for _, ip := range ips {
		if ip.Zone() != "" {
			n, err := z.number(ctx, ip.Zone())
			if err != nil {
				missing = err
				continue
			}
			ip = ip.WithZone(n)
		}
		here = append(here, ip)
	}
	if len(here) == 0 {
		return nil, missing
	}
	return here, nil
}

// local is a copy of a local address with its zone as a number.
func (z *zones) local(ctx context.Context, a net.Addr) (net.Addr, error) {
	_, zone := zoneOf(a)
	if zone == nil || *zone == "" {
		return a, nil
	}
	n, err := z.number(ctx, *zone)
	switch a := a.(type) {
	case *net.TCPAddr:
		return &net.TCPAddr{IP: a.IP, Port: a.Port, Zone: n}, err
	case *net.UDPAddr:
		return &net.UDPAddr{IP: a.IP, Port: a.Port, Zone: n}, err
	case *net.IPAddr:
		return &net.IPAddr{IP: a.IP, Zone: n}, err
	}
	return a, err
}

// zoneOf gives the IP address and the zone of an address. The zone is nil if the address is of
// another type.
func zoneOf(a net.Addr) (net.IP, *string) {
	switch a := a.(type) {
	case *net.TCPAddr:
		if a != nil {
			return a.IP, &a.Zone
		}
	case *net.UDPAddr:
		if a != nil {
			return a.IP, &a.Zone
		}
	case *net.IPAddr:
		if a != nil {
			return a.IP, &a.Zone
		}
	}
	return nil, nil
}

// control calls next, with zones by their names.
func (z *zones) control(next func(context.Context, string, string, syscall.RawConn) error) func(context.Context, string, string, syscall.RawConn) error {
	if next == nil {
		return nil
	}
	return func(ctx context.Context, network, address string, rc syscall.RawConn) error {
		host, with := hostIn(network, address)
		if ip, zone, ok := strings.Cut(host, "%"); ok && z.names[zone] != "" {
			address = with(ip + "%" + z.names[zone])
		}
		return next(ctx, network, address, rc)
	}
}

// failed is an error of package net, with zones by their names, and with the local address that the
// caller has given.
func (z *zones) failed(err error, local net.Addr) error {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || len(z.names) == 0 {
		return err
	}
	if _, zone := zoneOf(op.Source); zone != nil && *zone != "" {
		op.Source = local
	}
	if _, zone := zoneOf(op.Addr); zone != nil && z.names[*zone] != "" {
		*zone = z.names[*zone]
	}
	return err
}

// hostIn is the host in an address. It is "" if package net will refuse the address. with makes the
// same address with another host.
func hostIn(network, address string) (host string, with func(string) string) {
	if strings.HasPrefix(network, "ip") {
		return address, func(host string) string { return host }
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || strings.HasPrefix(network, "unix") {
		return "", nil
	}
	return host, func(host string) string { return net.JoinHostPort(host, port) }
}
