//go:build amd64 || arm64

package nsfs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// fstat never waits, because nsfs is in memory. So the Go scheduler is not told of the call:
// telling it takes as long as the call itself, and restoring a thread makes one call for each
// namespace.
func fstat(fd int, st *unix.Stat_t) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_FSTAT, uintptr(fd), uintptr(unsafe.Pointer(st)), 0); errno != 0 {
		return errno
	}
	return nil
}

// setns is for types for which it does not wait, either.
func setns(fd int, typ uint32) error {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETNS, uintptr(fd), uintptr(typ), 0); errno != 0 {
		return errno
	}
	return nil
}
