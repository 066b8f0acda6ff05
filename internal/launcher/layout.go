//go:build linux

package launcher

import "math/bits"

// The assembly files share everything in this file: the compiler gives it to them as go_asm.h. They
// get the sizes of this architecture: every field is one of its words.
const (
	wordSize   = bits.UintSize / 8
	recordSize = 2 * wordSize // a step's address, and a result or value
)

// Descriptors of the launcher.
const (
	ControlFD   FD = 3 // a pipe's read end: the step list, then one byte for each Wait
	StatusFD    FD = 4 // a pipe's write end: one record for each Sync and Send, and for a failure
	ImageFD     FD = 5 // the launcher's own executable
	FirstFileFD FD = 6 // the first of Cmd.Files
)

// Addresses of the launcher. The segments are aligned for the largest pages that exist, 64 KiB.
const (
	pageSize = 64 << 10
	textBase = 0x10000000
	dataBase = 0x20000000
	maxList  = 1 << 20 // for a few thousand directories of PATH; unused memory is never allocated
	maxText  = 1024
)

// The text ends where these eight bytes begin.
const (
	endMark1 = 0x736e6f67 // "gons"
	endMark2 = 0x444e456f // "oEND"
)

// header is the beginning of a list, at dataBase.
type header struct {
	end      uintptr // address where the list ends
	endSteps uintptr // address where its steps end
	argv     uintptr // set by the launcher: its own arguments and environment
	envp     uintptr
	status   uintptr    // descriptor for records
	record   [2]uintptr // made by the launcher when a step fails: the step's address and result
	scratch  uintptr    // for results that nobody uses, and for the byte that Wait reads
}

// step is one system call. Arguments are addresses of words, so that a constant, the result of an
// earlier step and a field of the header need no distinction.
type step struct {
	when     uintptr    // address of a word; if that is zero, the step is skipped
	nr       uintptr    // system call
	args     [6]uintptr // addresses of its arguments
	low      uintptr    // expected are results from low to low+span, unsigned,
	span     uintptr
	tolerate [2]uintptr // and these
	out      uintptr    // address to store the result at
}
