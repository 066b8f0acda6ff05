package gonso_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func init() {
	testenv.Program("runs a script in place", func() {
		new(gonso.Set).Command(context.Background(), "sh", "-c", os.Args[1]).RunAndExit()
	})
	testenv.Program("runs in place", func() {
		args := append(os.Args[2:], "sh", "-c", `kill -$0 $$; exec sleep 600`, os.Args[1])
		new(gonso.Set).Command(context.Background(), "env", args...).RunAndExit()
	})
}

// As pid 1, of a container, no signal of its own ends a process (opencontainers/runc#5197): the exit
// status is what a shell would say all the same, and not the Go runtime's 2.
func TestEndOfTheCommandCannotBeLostAsInit(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("sh"), testenv.UtilLinux("unshare"))
	wrapper := []string{"--pid", "--fork", "--kill-child"}
	if !testenv.Has(testenv.Root) {
		testenv.Need(t, testenv.UserNS)
		wrapper = append(wrapper, "--user", "--map-root-user")
	}
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGKILL, unix.SIGALRM, unix.SIGQUIT, unix.SIGUSR1} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			// The shell of busybox ignores SIGQUIT.
			if exec.Command("sh", "-c", `kill -$0 $$`, strconv.Itoa(int(sig))).Run() == nil {
				testenv.Found(t, "signals", fmt.Errorf("sh ignores %v", sig))
			}
			testenv.Leaks(t)
			c := testenv.Command(t, "runs in place", strconv.Itoa(int(sig)))
			c.Args = append(append([]string{"unshare"}, wrapper...), thisFile(t), c.Args[1])
			var err error
			if c.Path, err = testenv.LookPath("unshare"); err != nil {
				t.Fatal(err)
			}
			wantStatus(t, c, "exit status "+strconv.Itoa(128+int(sig)))
		})
	}
}

// In a container, the command's orphans are children of the program that runs it. The command's own
// status is not taken with theirs.
func TestOrphanCannotStayAZombieOfInit(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("sh"), testenv.Tool("grep"), testenv.UtilLinux("unshare"))
	args := []string{"unshare", "--pid", "--fork", "--kill-child", "--mount-proc"}
	if !testenv.Has(testenv.Root) {
		testenv.Need(t, testenv.UserNS)
		args = append(args, "--user", "--map-root-user")
	}
	const script = `for i in 1 2 3 4 5 6; do (sleep 0.$i &); done
		n=0; while [ $n -lt 200 ]; do
			n=$((n+1)); sleep 0.05
			[ $n -gt 20 ] && ! grep -q '^State:.Z' /proc/[0-9]*/status && exit 7
		done; exit 8`
	c := testenv.Command(t, "runs a script in place", script)
	c.Args = append(args, thisFile(t), script)
	var err error
	if c.Path, err = testenv.LookPath("unshare"); err != nil {
		t.Fatal(err)
	}
	wantStatus(t, c, "exit status 7")
}

// Who ignores the signal lives on after it, too. Of the Go runtime's signals these stay ignored.
func TestEndOfTheCommandCannotBeLostWhereTheSignalIsIgnored(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("sh"), testenv.Tool("env"))
	testenv.Found(t, "tools", exec.Command("env", "--default-signal=2", "true").Run())
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGHUP} {
		c := testenv.Command(t, "runs in place", strconv.Itoa(int(sig)), "--default-signal="+strconv.Itoa(int(sig)))
		c.Args = append([]string{"sh", "-c", `trap "" $1; exec "$0" "$@"`, thisFile(t)}, c.Args[1:]...)
		c.Path = "/bin/sh"
		wantStatus(t, c, "exit status "+strconv.Itoa(128+int(sig)))
	}
}

func wantStatus(t *testing.T, c *exec.Cmd, want string) {
	t.Helper()
	out, err := c.CombinedOutput()
	var ee *exec.ExitError
	if !errors.As(err, &ee) || ee.String() != want {
		t.Errorf("%v, want %s; it printed %q", err, want, out)
	}
}
