//go:build !linux

package gonso

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
)

func (s *Set) foreignTypes(ctx context.Context, op string) (foreign, opened Type, err error) {
	_, err = s.acquireFor(ctx, op)
	return 0, 0, err
}

func (s *Set) onHomeThread(op string, _ func()) error {
	_, err := s.acquire(op)
	return err
}

func (s *Set) socket(ctx context.Context, _, _, _ int) (*os.File, error) {
	_, err := s.acquireFor(ctx, "socket")
	return nil, err
}

// caution is about files of somebody else. It has no use here.
type caution uint8

const (
	anyFile caution = iota
	ordinaryFile
)

func (s *Set) mayBind(context.Context, Type, string, string) error { return errors.ErrUnsupported }

func (s *Set) openFile(ctx context.Context, _, _ string, _ int, _ os.FileMode, _ caution) (*os.File, error) {
	_, err := s.acquireFor(ctx, "open")
	return nil, err
}

func (s *Set) findSocket(context.Context, string) (*os.File, error) {
	return nil, errors.ErrUnsupported
}
func (s *Set) listenAt(context.Context, string, string, bool, func(string, string, syscall.RawConn) error) (*os.File, error) {
	return nil, errors.ErrUnsupported
}
func procPath(*os.File) (string, error)                              { return "", errors.ErrUnsupported }
func (s *Set) replaceSocket(context.Context, syscall.RawConn) error  { return errors.ErrUnsupported }
func (s *Set) bindAt(context.Context, syscall.RawConn, string) error { return errors.ErrUnsupported }
func (s *Set) datagrams(c net.PacketConn) net.PacketConn             { return c }
func (s *Set) zoneNumber(context.Context, string) (string, error)    { return "", errors.ErrUnsupported }
func (s *Set) interfaces(ctx context.Context) ([]Interface, error) {
	_, err := s.acquireFor(ctx, "list interfaces")
	return nil, err
}

var errNoInterface = errors.ErrUnsupported

func (z *zones) conn(c net.Conn) net.Conn                { return c }
func (z *zones) packets(c net.PacketConn) net.PacketConn { return c }
func (z *zones) listener(l net.Listener) net.Listener    { return l }
func (s *Set) lookup(context.Context, Type, string, string) ([]netip.Addr, error) {
	return nil, errors.ErrUnsupported
}
