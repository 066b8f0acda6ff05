//go:build linux

package launcher

import (
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// voucher is a parent-death signal (PR_SET_PDEATHSIG). It also ends a worker that cannot see the
// end of this program. So a thread that lasts as long as this program must start the worker.
const voucher = syscall.SIGKILL

// Vouch tells the program that the launcher becomes that no process in between has gained
// privileges. A process loses its parent-death signal when it gains privileges: by exec of a file
// with a setuid bit or capabilities (fs/exec.c, begin_new_exec), or by changing ids and
// capabilities (kernel/cred.c, commit_creds). A child does not inherit the signal. Vouch must come
// after all steps of the launcher that change ids or capabilities.
func (l *List) Vouch() *Step { return l.Prctl(unix.PR_SET_PDEATHSIG, int(voucher)) }

// Vouched reports whether a launcher has vouched for this program.
func Vouched() (bool, error) {
	var sig int32
	if err := unix.Prctl(unix.PR_GET_PDEATHSIG, uintptr(unsafe.Pointer(&sig)), 0, 0, 0); err != nil {
		return false, os.NewSyscallError("prctl PR_GET_PDEATHSIG", err)
	}
	return syscall.Signal(sig) == voucher, nil
}
