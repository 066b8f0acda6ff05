//go:build linux

package launcher

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// This file has the differences between architectures in the calls of a list, except numbers and
// constants that package unix knows. No call has an argument of 64 bits, which architectures of 32
// bits would split: values of 64 bits are in memory.

// mips has 128 signals, and its own order in struct sigaction.
const mips = runtime.GOARCH == "mips64le"

// sigsetSize returns the size of the kernel's signal set.
func sigsetSize() int {
	if mips {
		return 16
	}
	return 8
}

// sigactionOf returns the kernel's struct sigaction with a handler. Its other fields are zero:
// flags, restorer, signal set.
func sigactionOf(handler uintptr) *data {
	if mips {
		return words(0, handler, 0, 0) // the flags come first
	}
	return words(handler, 0, 0, 0, 0)
}

// kernelArgs returns the arguments of s in the order in which this kernel takes them. When printed,
// they are in the order of the manual.
func (s *Step) kernelArgs() []arg {
	if runtime.GOARCH == "s390x" && s.nr == unix.SYS_CLONE { // CONFIG_CLONE_BACKWARDS2: the stack, then the flags
		swapped := append([]arg(nil), s.args...)
		swapped[0], swapped[1] = s.args[1], s.args[0]
		return swapped
	}
	return s.args
}
