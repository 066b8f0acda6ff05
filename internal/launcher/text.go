//go:build linux && (386 || amd64 || arm || arm64 || loong64 || mips64le || ppc64le || riscv64 || s390x)

package launcher

import "unsafe"

// The launcher's code is in one assembly file an architecture. What follows is true of all of them.
//
// Why they exist: entering a user namespace takes a single-threaded task, which no Go program is.
// The function "launcher" in them is not part of this program; its bytes become the text of a small
// static executable (see image.go), which is started in this program's stead and makes the system
// calls of a step list (see layout.go).
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
// is not expected goes with the step's address to the descriptor of the header, and ends the
// process with status 127. Registers that the kernel's interface leaves to it are named by each
// file, as is how an error looks: for a list it is always a negative result.

// textStart returns the address of the launcher's code: to be read, never to be run here.
func textStart() unsafe.Pointer
