package gonso

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
	"github.com/gonso/gonso/reexec"
)

// waited is Wait, which is to come to an end.
func waited(t testing.TB, s *Set) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Bound(30*time.Second))
	defer cancel()
	if err := s.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// stillWaits is Wait for a while, in which it is to have no end.
func stillWaits(t testing.TB, what string, s *Set) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errors.New("enough"))
	defer cancel()
	if err := s.Wait(ctx); err == nil || err.Error() != "enough" {
		t.Errorf("%s: %v", what, err)
	}
}

// leaveBehind runs a program inside that ends before its children, and returns all processes there.
func leaveBehind(t testing.TB, s *Set) map[int]int {
	t.Helper()
	testenv.Need(t, testenv.Tool("sh"), testenv.Tool("sleep"))
	c := s.Command(t.Context(), "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 600 >/dev/null 2>&1 & done")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m := members(t, s)
	if len(m) < 11 {
		t.Fatalf("inside are %v", m)
	}
	return m
}

// wantNone is for all but the init, which its parent may have to reap yet.
func wantNone(t testing.TB, what string, pids map[int]int) {
	t.Helper()
	for inside, pid := range pids {
		if inside != 1 && unix.Kill(pid, 0) != unix.ESRCH {
			t.Errorf("%s: process %d is there", what, pid)
		}
	}
}

var _ = testenv.AlsoNested(TestWaitIsForTheLastProcess)

func TestWaitIsForTheLastProcess(t *testing.T) {
	typ := pidTypes(t)
	testenv.Leaks(t)
	s := unshare(t, typ)
	left := leaveBehind(t, s)
	stillWaits(t, "an open Set", s)
	dup := owned(t)(s.Dup())
	s.Close()
	stillWaits(t, "a closed Set with a Dup", s)
	stillWaits(t, "an open Dup", dup)
	dup.Close()
	waited(t, s)
	wantNone(t, "closed", left)
	waited(t, dup)
	waited(t, s) // again

	s = unshare(t, typ)
	nested := owned(t)(s.Unshare(PID))
	left = leaveBehind(t, nested)
	nested.Close()
	waited(t, nested)
	wantNone(t, "nested", left)
	stillWaits(t, "the outer one", s)
	s.Close()
	waited(t, s)
}

var _ = testenv.AlsoNested(TestWaitForAnInitThatIsKilled)

func TestWaitForAnInitThatIsKilled(t *testing.T) {
	typ := pidTypes(t)
	testenv.Leaks(t)
	s := unshare(t, typ)
	left := leaveBehind(t, s)
	done := make(chan error, 1)
	go func() { done <- s.Wait(t.Context()) }()
	if err := unix.Kill(left[1], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	wantNone(t, "killed", left)
	waited(t, s)
	s.Close()
	waited(t, s)
}

// What has lost its parent, which would have told its end, is not said to have ended.
func TestWaitForAnInitWithoutItsParent(t *testing.T) {
	typ := pidTypes(t)
	s := unshare(t, typ)
	if err := unix.Kill(parentOf(t, initOf(t, s)), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the init is gone, too", func() bool { return len(members(t, s)) == 0 })
	if err := s.Wait(t.Context()); !errors.Is(err, reexec.ErrInitUnknown) {
		t.Error(err)
	}
}

// The kernel keeps the init as long as this process has not reaped a child inside, also when its
// parent is gone.
func TestWaitForAChildThatIsNotReaped(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Process, testenv.Tool("sleep"))
	testenv.Leaks(t)
	s := unshare(t, PID)
	init := initOf(t, s)
	parent := parentOf(t, init)
	c := exec.Command("sleep", "600")
	if err := s.Run(c.Start); err != nil {
		t.Fatal(err)
	}
	s.Close()
	wantGone(t, parent, "the parent of the init")
	stillWaits(t, "a zombie inside", s)
	if err := c.Wait(); err == nil {
		t.Error("it was not killed")
	}
	waited(t, s)
	wantGone(t, init, "the init")
}

func TestWaitRefuses(t *testing.T) {
	typ := pidTypes(t)
	s := unshare(t, typ)
	others := owned(t)(FromPID(os.Getpid(), PID))
	wantError(t, "another's", others.Wait(t.Context()), errOthersInit, "pid")
	rest := owned(t)(s.Without(PID))
	wantError(t, "without PID", rest.Wait(t.Context()), errNotInSet, "pid")
	wantError(t, "the zero Set", new(Set).Wait(t.Context()), errNotInSet, "pid")
	wantError(t, "nil", (*Set)(nil).Wait(t.Context()), errNilSet)
	wantError(t, "no context", s.Wait(nil), errNoContext) //nolint:staticcheck // that is the test
}
