package gonso_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

const sigRTMax = 64

func init() {
	testenv.Program("starts nothing", func() {
		c := new(gonso.Cmd)
		if len(os.Args) > 1 {
			c = (*gonso.Set)(nil).Command(context.Background(), "true")
		}
		c.RunAndExit(func(int) { fmt.Println("started") })
	})
	testenv.Program("tells what started", func() {
		c := new(gonso.Set).Command(context.Background(), os.Args[1], os.Args[2:]...)
		c.RunAndExit(nil, func(pid int) {
			fmt.Println("started", pid, pid == c.Process.Pid)
			unix.Kill(os.Getpid(), unix.Signal(sigRTMax)) // is caught by now, and passed on
		})
	})
}

// Who is told of the start has the id of the command itself, and can rely on signals being passed on.
func TestStartOfTheCommandIsTold(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("sleep"))
	testenv.Leaks(t)
	// A realtime signal ends it.
	c := testenv.Command(t, "tells what started", "sleep", "600")
	out, err := c.CombinedOutput()
	var ee *exec.ExitError
	if !errors.As(err, &ee) {
		t.Fatalf("%v: %s", err, out)
	}
	pid := regexp.MustCompile(`(?m)^started (\d+) true$`).FindSubmatch(out)
	if len(pid) == 0 || ee.ExitCode() != 128+sigRTMax {
		t.Errorf("%v: %s", err, out)
	}

	out, err = testenv.Command(t, "tells what started", "/no/such/program").CombinedOutput()
	if !errors.As(err, &ee) || ee.ExitCode() != 127 || regexp.MustCompile(`(?m)^started`).Match(out) {
		t.Errorf("%v: %s", err, out)
	}
}

// Without a Set, or without a command, it says so and ends.
func TestRunAndExitOfNothingCannotPanic(t *testing.T) {
	testenv.Need(t, testenv.Process)
	testenv.Leaks(t)
	for want, args := range map[string][]string{"the Set is nil": {"nil"}, "Cmd without a command": nil} {
		out, err := testenv.Command(t, "starts nothing", args...).CombinedOutput()
		var ee *exec.ExitError
		if !errors.As(err, &ee) || ee.ExitCode() != 125 || !regexp.MustCompile(want).Match(out) || regexp.MustCompile("(?m)^(started|panic)").Match(out) {
			t.Errorf("%v: %s", err, out)
		}
	}
}
