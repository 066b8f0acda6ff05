// Package ns is pkg/ns of the CNI plugins on gonso: work in a net namespace that somebody else has
// made.
package ns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// NetNS is a net namespace.
type NetNS interface {
	// Do runs toRun inside and waits for it. The argument is the namespace that Do was called in.
	Do(toRun func(NetNS) error) error
	// Set moves the calling thread, which the caller has locked.
	Set() error
	Path() string
	Fd() uintptr
	// Close is an error the second time.
	Close() error
}

// NSPathNotExistErr says that there is nothing at a path.
type NSPathNotExistErr struct{ msg string }

func (e NSPathNotExistErr) Error() string { return e.msg }

// NSPathNotNSErr says that there is something else than a namespace at a path.
type NSPathNotNSErr struct{ msg string }

func (e NSPathNotNSErr) Error() string { return e.msg }

type netNS struct {
	set  *gonso.Set
	path string
}

// byDescriptor is a namespace without a path of its own.
func byDescriptor(s *gonso.Set, err error) (NetNS, error) {
	if err != nil {
		return nil, err
	}
	return &netNS{s, fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.Fd(gonso.Net))}, nil
}

// GetCurrentNS is the namespace of the calling thread.
func GetCurrentNS() (NetNS, error) { return byDescriptor(gonso.Current(gonso.Net)) }

// TempNetNS makes a namespace that lasts until it is closed.
func TempNetNS() (NetNS, error) { return byDescriptor(gonso.Unshare(gonso.Net)) }

func open(nspath string) (*gonso.Set, error) {
	s, err := gonso.Open(nspath)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, NSPathNotExistErr{err.Error()}
	case errors.Is(err, gonso.ErrNotNamespace):
		return nil, NSPathNotNSErr{err.Error()}
	}
	return s, err
}

// IsNSorErr is nil for the path of a namespace.
func IsNSorErr(nspath string) error {
	s, err := open(nspath)
	if err != nil {
		return err
	}
	return s.Close()
}

// GetNS opens the namespace at a path.
func GetNS(nspath string) (NetNS, error) {
	s, err := open(nspath)
	if err != nil {
		return nil, err
	}
	if !s.Has(gonso.Net) {
		defer s.Close()
		return nil, NSPathNotNSErr{fmt.Sprintf("%s: a %v namespace, not a net one", nspath, s.Types())}
	}
	return &netNS{s, nspath}, nil
}

// WithNetNSPath is Do of the namespace at a path.
func WithNetNSPath(nspath string, toRun func(NetNS) error) error {
	n, err := GetNS(nspath)
	if err != nil {
		return err
	}
	defer n.Close()
	return n.Do(toRun)
}

func (n *netNS) Do(toRun func(NetNS) error) error {
	host, err := GetCurrentNS()
	if err != nil {
		return err
	}
	defer host.Close()
	return n.set.Run(func() error { return toRun(host) })
}

func (n *netNS) Set() error {
	defer runtime.KeepAlive(n)
	return os.NewSyscallError("setns "+n.path, unix.Setns(n.set.Fd(gonso.Net), unix.CLONE_NEWNET))
}

func (n *netNS) Path() string { return n.path }

func (n *netNS) Fd() uintptr { return uintptr(n.set.Fd(gonso.Net)) }

func (n *netNS) Close() error {
	if n.set.Types() == 0 {
		return fmt.Errorf("%s: %w", n.path, gonso.ErrClosed)
	}
	return n.set.Close()
}
