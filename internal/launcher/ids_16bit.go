//go:build linux && (386 || arm)

package launcher

import "golang.org/x/sys/unix"

// The calls without a number in their names are those of ids of 16 bits.
const (
	sysSetgroups = unix.SYS_SETGROUPS32
	sysSetresgid = unix.SYS_SETRESGID32
	sysSetresuid = unix.SYS_SETRESUID32
)
