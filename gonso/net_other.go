//go:build !linux

package gonso

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"syscall"
)

func (s *Set) foreignTypes(op string) (foreign, opened Type, err error) {
	_, err = s.acquire(op)
	return 0, 0, err
}

func (s *Set) socket(context.Context, int, int, int) (*os.File, error) {
	_, err := s.acquire("socket")
	return nil, err
}

func (s *Set) openFile(context.Context, string, int, os.FileMode) (*os.File, error) {
	_, err := s.acquire("open")
	return nil, err
}

func (s *Set) openPath(context.Context, string) (*os.File, error) { return nil, errors.ErrUnsupported }
func (s *Set) listenAt(context.Context, string, string, bool, func(string, string, syscall.RawConn) error) (*os.File, error) {
	return nil, errors.ErrUnsupported
}
func atHome(f func())                                                  { f() }
func procPath(*os.File) string                                         { return "" }
func (s *Set) replaceSocket(context.Context, syscall.RawConn) error    { return errors.ErrUnsupported }
func (s *Set) zoned(_ context.Context, address string) (string, error) { return address, nil }
func (s *Set) lookup(context.Context, Type, string, string) ([]netip.Addr, error) {
	return nil, errors.ErrUnsupported
}
