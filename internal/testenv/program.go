package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// ProgramEnv is an environment variable. It names the program that this test binary runs instead of
// its tests. Processes that the program starts from this binary run the same program, until the
// program unsets ProgramEnv. A first argument of the same form, GONSO_TEST_PROGRAM=NAME, has the
// same effect: it is for tests that are about the environment.
const ProgramEnv = "GONSO_TEST_PROGRAM"

// program is the program's name, if this process is one. A process with an unknown name must not
// run the tests: they would start it again and again.
func program() (name string, is bool) {
	if name, is = strings.CutPrefix(os.Args[0], ProgramEnv+"="); is {
		return name, true
	}
	return os.LookupEnv(ProgramEnv)
}

var programs = make(map[string]func())

func init() {
	// The race detector makes every process wait a second before it ends. Tests look at the
	// environment of workers.
	if Race && os.Args[0] != "gonso-worker" {
		os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
	}
	if _, is := program(); is {
		runtime.LockOSThread() // programs run on the main thread
	}
}

// Program registers the program that this test binary runs if ProgramEnv is name. It is for init
// functions.
func Program(name string, main func()) {
	if programs[name] != nil {
		panic("two programs of tests are called " + name)
	}
	programs[name] = main
}

// Begin runs the program that ProgramEnv names, and does not return then. Otherwise it selects the
// tests, if only marked tests must run. Main calls it. A TestMain without Main calls it first.
func Begin() {
	name, is := program()
	if !is {
		selectTests()
		return
	}
	main := programs[name]
	if main == nil {
		fmt.Fprintf(os.Stderr, "no program of tests is called %q\n", name)
		os.Exit(2)
	}
	main()
	os.Exit(0)
}

// Command is a program with arguments, not started yet.
func Command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	if programs[name] == nil {
		t.Fatalf("no program of tests is called %q", name)
	}
	c := exec.Command("/proc/self/exe", args...)
	c.Env = append(os.Environ(), ProgramEnv+"="+name)
	return c
}

const againEnv = "GONSO_TEST_AGAIN"

// IsAgain reports whether this is the process of Again.
func IsAgain(t testing.TB) bool { return os.Getenv(againEnv) == t.Name() }

// Again is this test once more, in another process. The program and the arguments of wrapper start
// that process. There, the test must pass, and must not skip.
func Again(t testing.TB, wrapper ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable() // /proc/self/exe is the wrapper's
	if err != nil {
		t.Fatal(err)
	}
	args := append(wrapper, exe, "-test.run=^"+t.Name()+"$", "-test.v")
	c := exec.Command(args[0], args[1:]...)
	c.Env = append(os.Environ(), againEnv+"="+t.Name())
	return c
}

// RunAgain runs the command that Again returned.
func RunAgain(t testing.TB, c *exec.Cmd) {
	t.Helper()
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v:\n%s", err, out)
	}
}

// HaveThreads makes threads that this program can use later, before a limit refuses it more: the Go
// runtime ends a program that gets none.
func HaveThreads(n int) {
	var there, over sync.WaitGroup
	there.Add(n)
	for range n {
		over.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			there.Done()
			there.Wait() // each has a thread of its own
		})
	}
	over.Wait()
}
