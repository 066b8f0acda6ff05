// Package launcher starts processes inside namespaces, without cgo and without forking this program's memory.
//
// A launcher is a static executable of a few hundred bytes. Package launcher makes it at first use,
// out of the bytes of one Go assembly function and an ELF header, keeps it in a sealed memfd, and
// starts it with [os.StartProcess]. The launcher is single-threaded and has nothing of this program
// in its memory. So it can enter a user namespace, which no thread of a Go program can. It may do
// so even if somebody else controls the namespace.
//
// Its work is a [List] of system calls. Ordinary Go code here makes the list, and sends it over a
// pipe:
//
//	var l launcher.List
//	l.Setns(launcher.FirstFileFD, unix.CLONE_NEWUSER)
//	l.Setgroups().Tolerate(unix.EPERM)
//	l.Setresgid(0)
//	l.Setresuid(0)
//	l.CloseRange(launcher.ControlFD, unix.CLOSE_RANGE_CLOEXEC)
//	l.Execveat(launcher.FirstFileFD + 1)
//
// It makes one call after another and reports the first whose result is not the expected one. A list can be printed and
// tested without being run.
//
// The package knows system calls, not namespaces. Package reexec decides the steps and their order.
// No other package should import this one. Its files:
//
//   - calls.go: the system calls that a list can hold;
//   - program.go: those on the way to a program that somebody chose;
//   - names.go: how their constants are printed;
//   - abi.go, ids.go, ids_16bit.go: what of the calls differs by architecture;
//   - list.go, layout.go: how a list is laid out in the launcher's memory;
//   - text.go: what is true of the launcher's code everywhere;
//   - launcher_*.s: that code, one file an architecture;
//   - elf.go, image.go: the executable made of it, and the file that holds it;
//   - process.go: preparing it, starting it and talking to it.
//
// It needs Linux on one of the architectures in elf.go, and a mounted /proc. Otherwise Supported
// and Start return an error that says so.
package launcher
