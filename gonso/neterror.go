package gonso

import (
	"errors"
	"net"

	"github.com/gonso/gonso/internal/errtree"
)

// What functions that use package net return, and [Set.Dialer] when the worker
// resolves names.
func init() {
	errtree.RegisterSentinel("net.ErrClosed", net.ErrClosed)
	errtree.RegisterType("net.DNSError", encodeDNSError, decodeDNSError)
	errtree.RegisterType("net.OpError", encodeOpError, decodeOpError)
}

type dnsFields struct {
	Err, Name, Server              string
	Timeout, Temporary, IsNotFound bool
}

func encodeDNSError(e *net.DNSError) (dnsFields, []error) {
	return dnsFields{e.Err, e.Name, e.Server, e.IsTimeout, e.IsTemporary, e.IsNotFound}, []error{e.UnwrapErr}
}

func decodeDNSError(f dnsFields, wrapped []error) (*net.DNSError, error) {
	e := &net.DNSError{Err: f.Err, Name: f.Name, Server: f.Server, IsTimeout: f.Timeout, IsTemporary: f.Temporary, IsNotFound: f.IsNotFound}
	if len(wrapped) > 0 {
		e.UnwrapErr = wrapped[0]
	}
	return e, nil
}

type opFields struct {
	Op, Net      string
	Source, Addr *errorAddr
}

// errorAddr is what came of an address.
type errorAddr struct{ Net, Text string }

func (a *errorAddr) Network() string { return a.Net }
func (a *errorAddr) String() string  { return a.Text }

func encodeOpError(e *net.OpError) (opFields, []error) {
	text := func(a net.Addr) *errorAddr {
		if a == nil {
			return nil
		}
		return &errorAddr{a.Network(), a.String()}
	}
	return opFields{e.Op, e.Net, text(e.Source), text(e.Addr)}, []error{e.Err}
}

func decodeOpError(f opFields, wrapped []error) (*net.OpError, error) {
	if len(wrapped) != 1 || wrapped[0] == nil {
		return nil, errors.New("a net.OpError without its cause") // its methods would panic
	}
	e := &net.OpError{Op: f.Op, Net: f.Net, Err: wrapped[0]}
	if f.Source != nil { // else the interface would not be nil
		e.Source = f.Source
	}
	if f.Addr != nil {
		e.Addr = f.Addr
	}
	return e, nil
}
