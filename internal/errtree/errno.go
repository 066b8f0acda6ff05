//go:build !plan9

package errtree

import "syscall"

// The numbers mean the same on both sides: same machine, same system.

func errnoOf(err error) (uint64, bool) {
	no, ok := err.(syscall.Errno)
	return uint64(no), ok
}

func errnoError(no uint64) error { return syscall.Errno(no) }
