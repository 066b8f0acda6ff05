package gonso

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
	"github.com/gonso/gonso/reexec"
)

// What the group gets is sent to the witness alone, as the group of a test is
// not the test's own.
func TestSignalsOfTheGroupAreKnownOnce(t *testing.T) {
	testenv.Need(t, testenv.Process)
	testenv.Leaks(t)
	p := &passing{notified: ^uint64(0), stopped: make(chan struct{})}
	var err error
	if p.witness, err = reexec.StartWitness(); err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	send := func(sig syscall.Signal) {
		t.Helper()
		pids := testenv.ChildrenNamed(os.Getpid(), "gonso-witness")
		if len(pids) != 1 {
			t.Fatalf("witnesses %v", pids)
		}
		if err := unix.Kill(pids[0], sig); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, sig syscall.Signal, reached bool) {
		t.Helper()
		if got := p.reached(sig); got != reached {
			t.Errorf("%s: %v reached the command: %v, want %v", what, sig, got, reached)
		}
	}
	want("sent to this process", unix.SIGTERM, false)
	send(unix.SIGTERM)
	send(unix.SIGUSR1)
	want("sent to the group", unix.SIGTERM, true)
	want("sent to this process after that", unix.SIGTERM, false)
	want("sent to the group before the next witness", unix.SIGUSR1, true)
	want("and once only", unix.SIGUSR1, false)

	// The command has stopped before ^Z was dealt with here; then all of the group goes on.
	send(unix.SIGTSTP)
	p.keepStop()
	send(unix.SIGCONT)
	want("the shell's", unix.SIGCONT, true)
	want("typed before", unix.SIGTSTP, true)
	want("sent to this process", unix.SIGTSTP, false)
	p.keepStop() // there is nothing to keep
	want("sent to this process", unix.SIGTSTP, false)

	// What came before the process was there has not reached it, whatever the witness knows.
	send(unix.SIGUSR1)
	p.forget()
	want("before the start", unix.SIGUSR1, false)

	// Without one, what the terminal sends is guessed.
	if err := unix.Kill(testenv.ChildrenNamed(os.Getpid(), "gonso-witness")[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "the witness has ended", func() bool {
		_, err := p.witness.Pending()
		return err != nil
	})
	want("when the witness was killed", unix.SIGUSR1, false)
	send(unix.SIGUSR1)
	want("and there is another", unix.SIGUSR1, true)
	p.apart = true
	send(unix.SIGUSR1)
	want("to a command in a group of its own", unix.SIGUSR1, false)
}

func init() {
	testenv.Program("catches", func() {
		p := &passing{signals: make(chan os.Signal, 64)}
		p.notify(passable())
		for n := syscall.Signal(1); n <= 64; n++ {
			if passable()&(1<<(n-1)) == 0 {
				continue
			}
			if err := unix.Kill(os.Getpid(), n); err != nil {
				fmt.Println(n, err)
			}
			for got := os.Signal(nil); got != n; {
				select {
				case got = <-p.signals: // or one of the runtime's own
				case <-time.After(5 * time.Second):
					fmt.Println(int(n), "did not come")
					got = n
				}
			}
		}
		fmt.Print("end")
	})
}

// The Go runtime takes some signals for itself, and says nothing where a program asks for them.
func TestSignalThatIsPassedOnCannotBeOneThatNeverComes(t *testing.T) {
	if out, err := testenv.Command(t, "catches").CombinedOutput(); err != nil || string(out) != "end" {
		t.Errorf("%s, %v", out, err)
	}
}
