//go:build linux

package launcher

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// What differs between architectures in the calls of a list, beyond numbers and constants that
// package unix knows. None of the calls has an argument of 64 bits, which 32 bits would split:
// those that there are lie in memory.

// mips has 128 signals, and its own order in struct sigaction.
const mips = runtime.GOARCH == "mips64le"

// sigsetSize returns that of the kernel's signal set.
func sigsetSize() int {
	if mips {
		return 16
	}
	return 8
}

// sigactionOf returns the kernel's struct sigaction with a handler, and else zeros: flags, a
// restorer, the set.
func sigactionOf(handler uintptr) *data {
	if mips {
		return words(0, handler, 0, 0) // the flags come first
	}
	return words(handler, 0, 0, 0, 0)
}

// kernelArgs returns the arguments of s in the order in which this kernel takes them. Printed, they
// are in that of the manual.
func (s *Step) kernelArgs() []arg {
	if runtime.GOARCH == "s390x" && s.nr == unix.SYS_CLONE { // CONFIG_CLONE_BACKWARDS2: the stack, then the flags
		swapped := append([]arg(nil), s.args...)
		swapped[0], swapped[1] = s.args[1], s.args[0]
		return swapped
	}
	return s.args
}
