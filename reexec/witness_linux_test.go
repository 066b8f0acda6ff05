package reexec

import (
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The signal is one that nobody minds.
func TestWitnessTellsGroupFromProcess(t *testing.T) {
	const bit = uint64(1) << (unix.SIGWINCH - 1)
	runtime.LockOSThread() // whose mask is looked at
	defer runtime.UnlockOSThread()
	var before, after unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, nil, &before); err != nil {
		t.Fatal(err)
	}
	w, err := StartWitness()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { w.End() }()
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, nil, &after); err != nil || before != after {
		t.Errorf("signal mask %v, before %v, %v", after, before, err)
	}
	for i := range 3 {
		if err := unix.Kill(unix.Getpid(), unix.SIGWINCH); err != nil {
			t.Fatal(err)
		}
		if got, err := w.Pending(); err != nil || got&bit != 0 {
			t.Fatalf("%d: sent to this process alone: %#x, %v", i, got, err)
		}
		if err := unix.Kill(0, unix.SIGWINCH); err != nil {
			t.Fatal(err)
		}
		if got, err := w.Pending(); err != nil || got&bit == 0 {
			t.Fatalf("%d: sent to the group: %#x, %v", i, got, err)
		}
		w.End()
		if w, err = StartWitness(); err != nil {
			t.Fatal(err)
		}
	}
	// It lives through what ends others, and knows nothing once it is gone.
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGTSTP, 34, 64} {
		if err := unix.Kill(w.p.Pid, sig); err != nil {
			t.Fatal(err)
		}
		if got, err := w.Pending(); err != nil || got&(1<<(sig-1)) == 0 {
			t.Fatalf("%v: %#x, %v", sig, got, err)
		}
	}
	if err := w.p.Kill(); err != nil {
		t.Fatal(err)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_PID, w.p.Pid, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := w.Pending(); err == nil {
		t.Errorf("after its end: %#x", got)
	}
}

// It needs nobody to end it.
func TestWitnessEndsWithItsPipe(t *testing.T) {
	w, err := StartWitness()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.p.CloseControl(); err != nil {
		t.Fatal(err)
	}
	if state, err := w.p.Wait(); err != nil || !state.Exited() {
		t.Errorf("%v, %v", state, err)
	}
	w.End()
}

func TestSharedPending(t *testing.T) {
	const status = "Name:\t5\nState:\tS (sleeping)\nSigPnd:\t0000000000000004\nShdPnd:\t8000000000000002\nSigBlk:\tfffffffe7ffbfeff\n"
	if got, err := sharedPending([]byte(status)); got != 1<<63|2 || err != nil {
		t.Errorf("%#x, %v", got, err)
	}
	for _, bad := range []string{
		"", "Name:\t5\n", strings.Replace(status, "S (sleeping)", "Z (zombie)", 1), strings.Replace(status, "8000", "800g", 1),
		"Name:\tx\nShdPnd:\t10000000000000000\n",
	} {
		if got, err := sharedPending([]byte(bad)); err == nil {
			t.Errorf("%q: %#x", bad, got)
		}
	}
}
