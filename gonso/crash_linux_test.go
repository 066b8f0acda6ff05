package gonso_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// Ways in which functions end their worker.
var ends = map[string]func(){
	"panic":       func() { go crashingHere() },
	"nil pointer": func() { go func() { *nowhere = 1 }() },
	"stack overflow": func() {
		debug.SetMaxStack(1 << 24)
		go deeper(0)
	},
	"concurrent map": func() {
		m := make(map[int]int)
		for range 4 {
			go func() {
				for {
					m[1]++
				}
			}()
		}
	},
	"processor time": func() {
		for {
			spin++
		}
	},
	"memory": func() {
		for {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = 1
			}
			hoard = append(hoard, b)
		}
	},
	"exec": func() {
		path, err := exec.LookPath("sleep")
		if err == nil {
			err = syscall.Exec(path, []string{"sleep", "600"}, os.Environ())
		}
		panic(err)
	},
	"threads": func() {
		for {
			go func() {
				runtime.LockOSThread()
				select {}
			}()
		}
	},
	"limited memory": func() {
		for {
			hoard = append(hoard, make([]byte, 8<<20))
		}
	},
	"exit": func() { os.Exit(3) },
	"closed descriptors": func() {
		if err := unix.CloseRange(0, math.MaxInt32, 0); err != nil {
			panic(err)
		}
	},
	"exec of a short one": func() {
		path, err := exec.LookPath("true")
		if err == nil {
			err = syscall.Exec(path, []string{"true"}, os.Environ())
		}
		panic(err)
	},
}

var (
	spin    int
	hoard   [][]byte
	nowhere *int
)

func crashingHere() { panic("crashed on purpose") }

func deeper(n int) int {
	var room [1 << 16]byte
	room[n%len(room)] = 1
	return deeper(n+1) + int(room[0]) //nolint:staticcheck // until the stack overflows
}

var ender = gonso.Register("test.ender", func(ctx context.Context, how string) (struct{}, error) {
	for range 300 { // whose traces stand between the cause and the end of what is printed
		go func() { <-ctx.Done() }()
	}
	ends[how]()
	<-ctx.Done()
	return struct{}{}, ctx.Err()
})

func init() { testenv.Program("has its worker end", hasItsWorkerEnd) }

// hasItsWorkerEnd prints the error.
func hasItsWorkerEnd() {
	os.Unsetenv(testenv.ProgramEnv)
	os.Setenv("GOTRACEBACK", "all")
	gonso.Init()
	if len(os.Args) > 2 {
		if err := os.WriteFile(os.Args[2], []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			panic(err)
		}
		testenv.HaveThreads(16) // the limit of the cgroup is this program's, too
	}
	s := new(gonso.Set)
	if limit, ok := map[string]gonso.Rlimit{
		"processor time":    {Resource: unix.RLIMIT_CPU, Soft: 1, Hard: 1},
		"limited memory":    {Resource: unix.RLIMIT_DATA, Soft: 256 << 20, Hard: 256 << 20},
		"threads of a user": {Resource: unix.RLIMIT_NPROC, Soft: 1, Hard: 1},
	}[os.Args[1]]; ok {
		if err := s.SetWorker(gonso.Worker{Rlimits: []gonso.Rlimit{limit}}); err != nil {
			panic(err)
		}
	}
	_, err := ender.Do(context.Background(), s, os.Args[1], gonso.Isolated(), gonso.InProcess())
	fmt.Println(errors.Is(err, gonso.ErrWorkerDied), err)
}

// hashicorp/terraform#26694: "plugin exited" and the trace of some goroutine, where the cause was printed long before.
// The error has the cause, the function and the call; the trace is on standard error, once.
func TestCauseOfACrashCannotGetLost(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("sleep"), testenv.Tool("true"))
	testenv.Leaks(t)
	for how, want := range map[string][]string{
		"panic":               {"panic: crashed on purpose", "gonso_test.crashingHere"},
		"nil pointer":         {"panic: runtime error: invalid memory address", "SIGSEGV"},
		"stack overflow":      {"fatal error: stack overflow", "runtime: goroutine stack exceeds", "gonso_test.deeper"},
		"concurrent map":      {"fatal error: concurrent map"},
		"processor time":      {"signal: killed", "RLIMIT_CPU", "is 1 s"},
		"exec":                {"executed /", " in its place", "os/exec"}, // sleep may be busybox
		"exec of a short one": {"in its place, as execve(2) does"},        // it may have ended before it is looked at
		"exit":                {"exit status 3: possibly by os.Exit"},
		"closed descriptors":  {": possibly by os.Exit, or a function of it has closed descriptors|its ends of the connection were closed"}, // it may be slow
		"threads":             {"probably for lack of threads: its cgroup may have 60 processes and threads (/sys/fs/cgroup/", "/pids.max), and more were refused"},
		"limited memory":      {"out of memory", "possibly because of Worker.Rlimits: RLIMIT_DATA is 268435456"},
		"memory":              {"signal: killed", "probably by the kernel, for lack of memory", "oom_kill in /sys/fs/cgroup/"},
	} {
		if how == "limited memory" && testenv.Race {
			continue // the detector takes more before the program begins
		}
		t.Run(how, func(t *testing.T) {
			c := testenv.Command(t, "has its worker end", how)
			switch how {
			case "memory":
				c.Args = append(c.Args, testenv.LimitedMemory(t, 160<<20))
			case "threads":
				c.Args = append(c.Args, testenv.LimitedTasks(t, 60))
			}
			var stdout, stderr bytes.Buffer
			c.Stdout, c.Stderr = &stdout, &stderr
			if err := c.Run(); err != nil {
				t.Fatalf("%v: %s%.2000s", err, &stdout, &stderr)
			}
			got := stdout.String()
			for _, words := range append(want, "true gonso: call test.ender: worker died: ") {
				if !slices.ContainsFunc(strings.Split(words, "|"), func(w string) bool { return strings.Contains(got, w) }) {
					t.Errorf("no %q in %s", words, got)
				}
			}
			if strings.Contains(got, "\ngoroutine ") {
				t.Errorf("the trace is in the error too: %s", got)
			}
			crashed := strings.Contains(got, "panic: ") || strings.Contains(got, "fatal error: ")
			if crashed && (len(got) > 2500 || strings.Count(stderr.String(), "\ngoroutine ") < 300) {
				t.Errorf("the error has %d bytes, and standard error %d", len(got), stderr.Len())
			}
		})
	}
}

// The Go runtime advises to raise a limit of the user, whichever limit it was.
func TestLimitOfThreadsIsNamed(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Plain)
	testenv.Leaks(t)
	out, err := testenv.Command(t, "has its worker end", "threads of a user").CombinedOutput()
	for _, words := range []string{"true gonso: call test.ender: worker died: exit status 2: possibly because of Worker.Rlimits: RLIMIT_NPROC is 1"} {
		if err != nil || !strings.Contains(string(out), words) {
			t.Errorf("no %q in %s (%v)", words, out, err)
		}
	}
}

// containers/podman#18120 and many more: "signal: killed", and nobody knows by whom.
func TestKilledFromOutsideCannotLookLikeLackOfMemory(t *testing.T) {
	s := newSet(t, gonso.User)
	pid := call(t, workerPID, s, struct{}{})
	errs := waitIn(t, t.Context(), s, 2)
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := <-errs
		for _, words := range []string{"gonso: call worker.wait: worker died: signal: killed", "by another process", "it ran worker.wait as well"} {
			if !errors.Is(err, gonso.ErrWorkerDied) || !strings.Contains(err.Error(), words) {
				t.Errorf("got %v, want %q in it", err, words)
			}
		}
	}
}
