package gonso

import (
	"context"
	"errors"
	"runtime"
)

// Wait waits until no process is left in the Set's pid namespace. [Set.Close] does not wait for the
// processes that it ends. After Close and Wait, all of them have ended, and their files and mounts
// are given back:
//
//	s.Close()
//	err := s.Wait(ctx)
//
// Wait returns nil when the init of the namespace has ended: see "Namespaces that are made" in the
// package's documentation. The kernel keeps the init until every other process inside has been
// reaped. So call Wait of commands that were started inside first. As long as another Set has the
// namespace, the init lives. It ends before that if it is killed from outside.
//
// When ctx ends first, the error is its cause. Wait can be called at any time, by many at once,
// and again. It needs no privileges.
//
// The Set needs a pid namespace that was made by [Unshare] of this program. If the process that
// started the init was killed before, the end of the init cannot be told, and that is the error.
// [ErrForeignProc] is the error if the procfs on /proc is of another pid namespace. Wait needs a
// kernel with CONFIG_PROC_CHILDREN, as the kernels of the distributions have.
func (s *Set) Wait(ctx context.Context) error {
	if err := checkContext(ctx, "wait"); err != nil {
		return err
	}
	c := s.get()
	if c == nil {
		return newError("wait", 0, "", errNilSet)
	}
	defer runtime.KeepAlive(s) // without a reference to it, the Set would be closed
	return c.wait(ctx)
}

var errOthersInit = errors.New("the namespace was not made by Unshare of this program: its init is somebody else's to wait for")
