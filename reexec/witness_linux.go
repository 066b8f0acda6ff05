package reexec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/procfs"
)

// A Witness is a process in the process group of this process. It blocks every signal and does
// nothing. A signal that is pending for it was sent to the group, and not only to this process: a
// Go program cannot learn this in another way. It ends with this process at the latest.
type Witness struct{ p *launcher.Process }

// StartWitness starts a Witness. It does not know of earlier signals.
func StartWitness() (*Witness, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), defaultStartTimeout, errSlow)
	defer cancel()
	return onLastingThread(ctx, startWitness, func() {}, (*Witness).End)
}

// maxStatus is far more than a status file of procfs has.
const maxStatus = 1 << 20

func startWitness() (*Witness, error) {
	// On a thread to which no other goroutine is locked. A child begins with the signal mask of the
	// thread that starts it: so a signal can never end it.
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &all, &old); err != nil {
		return nil, err
	}
	l := new(launcher.List)
	l.Wait() // until the other end is closed
	p, err := launcher.Start(&launcher.Cmd{List: l, Args: []string{"gonso-witness"}})
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil) // fails for bad pointers only
	if err != nil {
		return nil, err
	}
	return &Witness{p}, nil
}

// Pending returns the signals that the group got since the start of the Witness, as a set with bit
// n-1 for signal n.
func (w *Witness) Pending() (uint64, error) {
	// The kernel sends a signal to a group while it holds tasklist_lock for reading. setpgid takes
	// that lock for writing before it finds that the process does not exist. So a signal to the
	// group that has reached this process has then reached the whole group.
	_ = unix.Setpgid(math.MaxInt32, 1)
	// No other process can have its id: it has not been reaped.
	d, err := procfs.Process(w.p.Pid)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	status, err := d.ReadFile("status", maxStatus)
	if err != nil {
		return 0, err
	}
	return sharedPending([]byte(status))
}

var errNoWitness = errors.New("the witness has ended")

// sharedPending finds the pending signals in a /proc/PID/status.
func sharedPending(status []byte) (uint64, error) {
	if _, state, _ := bytes.Cut(status, []byte("\nState:\t")); bytes.HasPrefix(state, []byte("Z")) || bytes.HasPrefix(state, []byte("X")) {
		return 0, errNoWitness
	}
	_, rest, ok := bytes.Cut(status, []byte("\nShdPnd:\t"))
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	set, err := strconv.ParseUint(string(value), 16, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("no ShdPnd in %q", status)
	}
	return set, nil
}

// End ends the Witness and waits for its end.
func (w *Witness) End() {
	_ = w.p.Kill()
	_ = w.p.Close()
	_, _ = w.p.Reap(exitTimeout)
}
