package reexec

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// What only is under a filter is not forbidden, on any processor.
func TestFilterThatAllowsAllForbidsNothing(t *testing.T) {
	needProcess(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		sys.LockThread()                                                                // and not unlocked: a filter stays
		allow := [...]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0x7fff0000}} // SECCOMP_RET_ALLOW
		prog := unix.SockFprog{Len: uint16(len(allow)), Filter: &allow[0]}
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			t.Error(err)
			return
		}
		if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
			t.Error(err)
			return
		}
		if filters, err := filtersOfThread(); err != nil || filters == "" {
			t.Errorf("%q, %v", filters, err)
		}
		if f, err := probe(t.Context()); err != nil || f != (forbidden{}) {
			t.Errorf("%+v, %v", f, err)
		}
	}()
	<-done
}
