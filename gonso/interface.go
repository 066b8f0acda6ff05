package gonso

import (
	"context"
	"net"
	"net/netip"
)

// Interface is a network interface inside a Set, as it was when it was asked for.
type Interface struct {
	// What package net says of one. Its methods ask where they are called, and outside find
	// another interface or none by this index.
	net.Interface

	// Addrs are the unicast addresses, with the lengths of their networks.
	Addrs []netip.Prefix
}

// Interfaces lists the network interfaces of the Set's net namespace, by index.
//
// In a closure, or in a registered function on a thread, net.Interfaces and net.InterfaceByName
// fill the cache of the whole process that package net has for the zones of IPv6 addresses: up to
// a minute long "%eth0" then means on the host the index that eth0 has inside. This asks through a
// socket that is made inside, as by [Set.Socket], and leaves that cache alone. The privileges
// are the same.
func (s *Set) Interfaces(ctx context.Context) ([]Interface, error) {
	if ctx == nil {
		return nil, invalid("list interfaces", "the context is nil")
	}
	return s.interfaces(ctx)
}

// InterfaceByName finds one of [Set.Interfaces]. The error matches unix.ENODEV if there is none of
// that name.
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
