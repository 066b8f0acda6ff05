package gonso

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"
)

// loopbackHint adds a hint if the interface "lo" is down inside, to an error of dialling or
// listening on an address of this host. The kernel only says that the network is unreachable, or
// that it does not have the address.
func (s *Set) loopbackHint(ctx context.Context, err error) error {
	oe, ok := err.(*net.OpError)
	if !ok || !errors.Is(oe, syscall.ENETUNREACH) && !errors.Is(oe, syscall.EADDRNOTAVAIL) {
		return err
	}
	if !isLoopback(oe.Addr) || !s.loopbackIsDown(ctx) {
		return err
	}
	with := *oe
	with.Err = &hinted{oe.Err, loIsDown}
	return &with
}

const loIsDown = "the interface lo is down inside, as in every new net namespace: make it with gonso.LoopbackUp, or set it up"

func isLoopback(a net.Addr) bool {
	if a == nil {
		return false
	}
	if ap, err := netip.ParseAddrPort(a.String()); err == nil {
		return ap.Addr().Unmap().IsLoopback()
	}
	ip, err := netip.ParseAddr(a.String())
	return err == nil && ip.Unmap().IsLoopback()
}

// hinted is an error with a hint that is not an Error.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() + " (" + e.hint + ")" }
func (e *hinted) Unwrap() error { return e.err }
