package gonso

import (
	"context"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// loopbackIsDown asks the Set's net namespace by way of a socket of it.
func (s *Set) loopbackIsDown(ctx context.Context) bool {
	f, err := s.socket(ctx, unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return false
	}
	err = sys.OnFD(f, func(fd int) error { return unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo) })
	return err == nil && lo.Uint16()&unix.IFF_UP == 0
}
