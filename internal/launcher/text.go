//go:build linux && (386 || amd64 || arm || arm64 || loong64 || mips64le || ppc64le || riscv64 || s390x)

package launcher

import "unsafe"

// The launcher's code is in assembly files, one for each architecture. This comment is true of all
// of them.
//
// Why they exist: only a single-threaded process can enter a user namespace, and no Go program is
// single-threaded. The function "launcher" in them is not part of this program; its bytes become
// the text of a small static executable (see image.go), which is started as a process of its own
// and makes the system calls of a step list (see layout.go).
//
// Forbidden in it: the Go runtime, calls, the stack (beyond reading what the kernel left on it),
// every symbol, since nothing relocates it, and constants for which the assembler needs a literal
// pool (on arm and arm64, those that take more than one move). It runs at a fixed address, from the
// first byte; its memory is the segment at dataBase.
//
// What would break it: a prologue (hence NOSPLIT and NOFRAME), instrumentation, a jump out of it
// (the linker may put a trampoline there), its bytes no longer being in one piece between its first
// instruction and the end mark.
//
// What it does: it puts StatusFD into the header, which a list replaces; reads the list, first the
// word that says where it ends; puts argv and envp into the header; makes the calls. A result that
// is not expected is written, with the step's address, to the status descriptor in the header, and
// ends the process with status 127. Each file names the registers that system calls preserve, and
// says how an error looks. For a list, an error is always a negative result.

// textStart returns the address of the launcher's code: to be read, never to be run here.
func textStart() unsafe.Pointer
