//go:build linux

package launcher

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// voucher is a parent-death signal (PR_SET_PDEATHSIG). It is also what ends a worker that cannot see the end of this
// program: it has to be started by a thread that lasts as long as that.
const voucher = syscall.SIGKILL

// Vouch lets the program that the launcher becomes know that nobody between has gained privileges: the kernel takes a
// parent-death signal back from whoever does, by exec of a file with a setuid bit or capabilities (fs/exec.c,
// begin_new_exec), or by changing ids and capabilities (kernel/cred.c, commit_creds), and gives it to no child. It has to
// follow all such steps of the launcher's own.
func (l *List) Vouch() *Step { return l.Prctl(unix.PR_SET_PDEATHSIG, int(voucher)) }

// Vouched reports whether a launcher has vouched for this program.
func Vouched() (bool, error) {
	var sig int32
	if err := unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0, 0, 0); err != nil {
		return false, os.NewSyscallError("prctl PR_GET_PDEATHSIG", err)
	}
	return syscall.Signal(sig) == voucher, nil
}
