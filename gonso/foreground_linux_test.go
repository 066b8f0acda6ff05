package gonso_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func init() {
	testenv.Program("at a terminal", atTerminal)
	testenv.Program("takes the terminal", takesTerminal)
	testenv.Program("shell in place", shellInPlace)
}

// takesTerminal does to the terminal what interactive shells do: it makes its group, a new one, that
// in the foreground, and when it ends cannot give the terminal back.
func takesTerminal() {
	pgrp := unix.Getpid()
	set := func(group int) error { return unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, group) }
	if err := unix.Setpgid(0, 0); err != nil {
		print(nil, err)
	}
	signal.Ignore(unix.SIGTTOU)
	if err := set(pgrp); err != nil {
		print(nil, err)
	}
	if len(os.Args) > 1 && os.Args[1] == "killed" {
		unix.Kill(pgrp, unix.SIGKILL)
	}
	if len(os.Args) > 1 && os.Args[1] == "member" { // of the group, who outlives it
		c := exec.Command("sleep", "600")
		if err := c.Start(); err != nil {
			print(nil, err)
		}
	}
}

// shellInPlace runs a command of its arguments in its place.
func shellInPlace() {
	c := inPIDNamespace(os.Args[1] == "self")
	if os.Args[1] != "self" {
		c.Path, c.Args = os.Args[2], os.Args[2:]
	}
	c.RunAndExit()
}

func inPIDNamespace(self bool) *gonso.Cmd {
	s, err := gonso.Unshare(gonso.User | gonso.PID | gonso.Mount)
	if err != nil {
		print(nil, err)
	}
	if self {
		os.Setenv(testenv.ProgramEnv, "takes the terminal")
		return s.Self(context.Background())
	}
	return s.Command(context.Background(), "true")
}

// atTerminal is the leader of a terminal's session. It runs what its arguments say and tells whether
// it is in the foreground afterwards.
func atTerminal() {
	how, args := os.Args[1], os.Args[2:]
	var err error
	switch how {
	case "Setpgid", "Stdin", "KeepSession", "pipes":
		c := inPIDNamespace(false)
		c.Path, c.Args, c.KeepSession, c.Setpgid = args[0], args, true, how == "Setpgid"
		if how == "pipes" {
			_, err = c.CombinedOutput()
			break
		}
		c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
		err = c.Run()
	case "Self":
		c := inPIDNamespace(true)
		c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
		err = c.Run()
	case "zero":
		c := new(gonso.Set).Command(context.Background(), args[0], args[1:]...)
		c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
		err = c.Run()
	case "RunAndExit", "RunAndExit of Self": // of a child in the same group, as under make or sudo
		arg := "command"
		if how != "RunAndExit" {
			arg = "self"
		}
		c := exec.Command("/proc/self/exe", append([]string{arg}, args...)...)
		c.Env = append(os.Environ(), testenv.ProgramEnv+"=shell in place")
		c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
		err = c.Run()
	}
	pgrp, perr := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	fmt.Printf("ran: %v, foreground %v %v\n", err, pgrp == unix.Getpgrp(), perr)
}

// An interactive shell in a pid namespace cannot give its terminal back: whoever ran it would be
// stopped by SIGTTIN, or read EIO, from then on.
func TestShellInsideCannotKeepTheTerminalWhenItHasEnded(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS, testenv.Terminals)
	shell := func(arg string) []string {
		return []string{"env", testenv.ProgramEnv + "=takes the terminal", thisFile(t), arg}
	}
	interactive := []string{"sh", "-i", "-c", "exit 0"} // some call it an error that they cannot give it back
	for _, tt := range []struct {
		name, how string
		args      []string
		ran       string
	}{
		{"a shell", "Stdin", shell(""), "<nil>"},
		{"a shell of this system", "Stdin", interactive, ""},
		{"a shell that finds the terminal by itself", "pipes", interactive, ""},
		{"killed", "Stdin", shell("killed"), "signal: killed"},
		{"killed, outside", "zero", shell("killed"), "signal: killed"},
		{"who is left in its group", "Stdin", shell("member"), "<nil>"},
		{"in a group of its own", "Setpgid", shell(""), "<nil>"},
		{"Self", "Self", nil, "<nil>"},
		{"RunAndExit", "RunAndExit", shell(""), "<nil>"},
		{"RunAndExit of Self", "RunAndExit of Self", nil, "<nil>"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			testenv.Leaks(t)
			term, tty := newTerminal(t)
			c := testenv.Command(t, "at a terminal", append([]string{tt.how}, tt.args...)...)
			c.Stdin, c.Stdout, c.Stderr = tty, tty, tty
			c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			err := c.Start()
			tty.Close()
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				term.pty.Close()
				c.Process.Kill()
				c.Wait()
			}()
			term.want("ran: " + tt.ran)
			if got := term.want("foreground "); got != strconv.FormatBool(true) {
				t.Errorf("it is not in the foreground:\n%s", term.printed())
			}
		})
	}
}

func thisFile(t *testing.T) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}
