package gonso

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gonso/gonso/internal/testenv"
)

// Where somebody else may be root, a program gets nothing of this process that
// it was not given, and this program is a copy that nobody can write to.
func TestCommandInSomebodyElsesNamespaces(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Root, testenv.Tool("env"), testenv.Tool("cat"))
	t.Setenv("GONSO_SECRET", "x")
	s := owned(t)(FromPID(sleeper(t, User|Mount|PID), User, Mount, PID))
	testenv.Leaks(t)

	out, err := s.Command(context.Background(), "env").Output()
	if err != nil || strings.Contains(string(out), "SECRET") || !strings.Contains(string(out), "PATH=") {
		t.Errorf("%q, %v", out, err)
	}
	c := s.Command(context.Background(), "env")
	c.Dir = "/usr"
	for _, kv := range c.Environ() {
		if strings.Contains(kv, "SECRET") {
			t.Error(kv)
		}
	}
	keys := func(c *Cmd) string {
		c.Args = []string{"cat", "/proc/keys"}
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if _, err := os.Stat("/proc/keys"); err == nil {
		if all := keys(s.Command(context.Background(), "cat")); strings.Contains(all, "_uid_ses") {
			t.Errorf("keys of outside: %s", all)
		}
	}

	self := s.Self(context.Background())
	in, err := self.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	self.Env = append(os.Environ(), testenv.ProgramEnv+"=waits for input")
	self.DynamicLoader = true // this test binary may be built with cgo
	if err := self.Start(); err != nil {
		t.Fatal(err)
	}
	exe, err := os.Readlink("/proc/" + strconv.Itoa(self.Process.Pid) + "/exe")
	if err != nil || !strings.Contains(exe, "memfd:gonso-worker") {
		t.Errorf("it runs %s, %v", exe, err)
	}
	in.Close()
	if err := self.Wait(); err != nil {
		t.Error(err)
	}
}

func init() {
	testenv.Program("waits for input", func() { os.Stdin.Read(make([]byte, 1)) })
}

// Contexts that end at any moment of a launch leave nothing behind, nor a
// command that runs.
func TestCommandCancelledAtAnyMoment(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("sleep"))
	for name, s := range commandSets(t) {
		t.Run(name, func(t *testing.T) {
			testenv.Leaks(t)
			var wg sync.WaitGroup
			for i := range 4 {
				wg.Go(func() {
					for j := range 25 {
						after := time.Duration(i*25+j) * 30 * time.Microsecond
						ctx, cancel := context.WithTimeout(context.Background(), after)
						c := s.Command(ctx, "sleep", "600")
						_, err := c.CombinedOutput()
						cancel()
						if !errors.Is(err, context.DeadlineExceeded) && (err == nil || err.Error() != "signal: killed") {
							t.Errorf("after %v: %v", after, err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}
