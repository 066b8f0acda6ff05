package gonso_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	mobyreexec "github.com/moby/sys/reexec"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// initEnv names what an init function of this program does where it is a worker.
const initEnv = "GONSO_TEST_INIT"

func init() {
	testenv.Program("calls with an init", callsWithAnInit)
	how := os.Getenv(initEnv)
	if how == "" || os.Getenv(testenv.ProgramEnv) != "" {
		return
	}
	switch how {
	case "renames":
		os.Args[0] = "daemon: worker"
	case "replaces the arguments":
		os.Args = []string{"daemon", "mnt", "/"}
	case "panics":
		panic("no configuration")
	case "panics elsewhere":
		done := make(chan struct{})
		go func() { panic("no configuration") }()
		<-done
	case "exits":
		fmt.Fprintln(os.Stderr, "no configuration")
		os.Exit(3)
	case "exits without a word":
		os.Exit(0)
	case "is killed":
		unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	}
}

// callsWithAnInit calls a function in a worker, and says what became of it.
func callsWithAnInit() {
	fmt.Println("main")
	os.Unsetenv(testenv.ProgramEnv)
	switch os.Args[1] {
	case "moby":
		gonso.InitElsewhere(nil)
		mobyreexec.Init()
	case "gonso":
		gonso.Init()
	}
	s := new(gonso.Set)
	pid, err := workerPID.Do(context.Background(), s, struct{}{}, gonso.InProcess())
	fmt.Println(err == nil && pid != os.Getpid(), errors.Is(err, gonso.ErrNotInitialized), err)
}

// opencontainers/runc#1453: an init function that changes os.Args[0], as programs do to be found in ps(1). Init
// returned in the worker, and main ran a second time.
func TestInitCannotReturnInAWorker(t *testing.T) {
	testenv.Need(t, testenv.Process)
	for _, how := range []string{"renames", "replaces the arguments"} {
		c := testenv.Command(t, "calls with an init", "gonso")
		c.Env = append(c.Env, initEnv+"="+how)
		out, err := c.CombinedOutput()
		if err != nil || string(out) != "main\ntrue false <nil>\n" {
			t.Errorf("%s: %v: %.2000s", how, err, out)
		}
	}
}

// opencontainers/runc#677: an init function that ends the worker is not a main that has forgotten Init.
func TestFailingInitIsNotBlamedOnMain(t *testing.T) {
	testenv.Need(t, testenv.Process)
	for how, words := range map[string][]string{
		"panics":               {"exit status 2", "panic: no configuration"},
		"panics elsewhere":     {"exit status 2", "panic: no configuration"},
		"exits":                {"exit status 3", "no configuration"},
		"exits without a word": {"exit status 0"},
		"is killed":            {"signal: killed"},
	} {
		for _, caller := range []string{"gonso", "moby"} {
			c := testenv.Command(t, "calls with an init", caller)
			c.Env = append(c.Env, initEnv+"="+how)
			out, err := c.Output()
			said, ok := strings.CutPrefix(string(out), "main\nfalse ")
			if err != nil || !ok || strings.Count(string(out), "main\n") != 1 {
				t.Errorf("%s: %v: %.2000s", how, err, out)
				continue
			}
			words := append(words[:len(words):len(words)], "before it came to gonso.Init(): in an init function")
			if !strings.HasPrefix(said, "false ") {
				t.Errorf("%s, %s: it matches ErrNotInitialized: %s", how, caller, said)
			}
			for _, w := range words {
				if !strings.Contains(said, w) {
					t.Errorf("%s, %s: no %q in %s", how, caller, w, said)
				}
			}
		}
	}
}
