package gonso

import (
	"context"
	"net"
	"net/netip"
)

// Interface is a network interface inside a Set, at the time of the call.
type Interface struct {
	// The facts that package net has about an interface. Its methods look the index up in the net
	// namespace of the caller. So outside they find another interface, or no interface.
	net.Interface

	// Addrs are the unicast addresses, with the lengths of their networks.
	Addrs []netip.Prefix
}

// Interfaces lists the network interfaces of the Set's net namespace, by index.
//
// Package net keeps a cache for the zones of IPv6 addresses, one for the whole process.
// net.Interfaces and net.InterfaceByName fill it in a closure, and in a registered function on a
// thread. For up to a minute "%eth0" then means on the host the index that eth0 has inside.
// Interfaces uses a socket that is made inside, and leaves that cache alone. It needs the
// privileges of [Set.Socket].
func (s *Set) Interfaces(ctx context.Context) ([]Interface, error) {
	return s.interfaces(ctx)
}

// InterfaceByName returns one of [Set.Interfaces]. The error matches unix.ENODEV if no interface
// has that name.
func (s *Set) InterfaceByName(ctx context.Context, name string) (*Interface, error) {
	ifs, err := s.Interfaces(ctx)
	if err != nil {
		return nil, err
	}
	for i := range ifs {
		if ifs[i].Name == name {
			return &ifs[i], nil
		}
	}
	return nil, newError("find interface in", Net, name, errNoInterface)
}
