package isolation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	mobyreexec "github.com/moby/sys/reexec"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
	"github.com/gonso/gonso/internal/wire"
)

var pid = gonso.Register("pid", func(context.Context, struct{}) (int, error) { return os.Getpid(), nil })

// work is what the programs do; it prints what came of it.
func work() {
	fmt.Fprintln(os.Stderr, "generation")
	// A net namespace of its own would do, but needs root.
	p, err := pid.Do(context.Background(), new(gonso.Set), struct{}{}, gonso.InProcess())
	switch {
	case err != nil:
		fmt.Println("failed:", err)
		fmt.Println("not initialized:", errors.Is(err, gonso.ErrNotInitialized))
	case p == os.Getpid():
		fmt.Println("failed: it ran here")
	default:
		fmt.Println("ok")
	}
	_, err = gonso.Unshare(gonso.User)
	fmt.Println("unshare:", err)
}

func init() {
	mobyreexec.Register("isolation-test-entry", func() { fmt.Println("entry") })

	testenv.Program("gonso.Init", func() { gonso.Init(); work() })
	testenv.Program("reexec.Init", func() {
		gonso.InitElsewhere(nil)
		if mobyreexec.Init() {
			return
		}
		work()
	})
	testenv.Program("reexec.Init, result ignored", func() { gonso.InitElsewhere(nil); mobyreexec.Init(); work() })
	testenv.Program("both", func() {
		if mobyreexec.Init() {
			return
		}
		gonso.Init()
		work()
	})
	testenv.Program("both, the other way", func() {
		gonso.Init()
		if mobyreexec.Init() {
			return
		}
		work()
	})
	// Programs with plugins load them first, and parse flags; what they say
	// comes before Init and must not be taken for an answer.
	testenv.Program("Init late", func() {
		fmt.Fprintln(os.Stdout, "loading plugins")
		fmt.Fprintln(os.Stderr, "no plugin directory")
		gonso.Init()
		work()
	})
	// Where main is out of reach, another program is the worker; here it is this
	// one with another main.
	testenv.Program("no Init, but a helper", func() {
		s := new(gonso.Set)
		err := s.SetWorker(gonso.Worker{Path: helperPath(), Env: []string{testenv.ProgramEnv + "=gonso.Init"}})
		if err == nil {
			_, err = pid.Do(context.Background(), s, struct{}{}, gonso.InProcess())
		}
		if err == nil {
			_, err = pid.Do(context.Background(), s, struct{}{}, gonso.Isolated())
		}
		s.Close()
		fmt.Println("with a helper:", err)
	})
	// As containers/storage/pkg/reexec is: a registry of its own, told by os.Args[0].
	testenv.Program("another registry", func() {
		registry := make(map[string]func())
		gonso.InitElsewhere(func(name string, initializer func()) { registry[name] = initializer })
		if f := registry[os.Args[0]]; f != nil {
			f()
			panic("it returned")
		}
		work()
	})
	testenv.Program("no Init", work)
	testenv.Program("no Init, exits", func() {
		if os.Args[0] == "gonso-worker" {
			fmt.Fprintln(os.Stderr, "usage: program COMMAND")
			os.Exit(2)
		}
		work()
	})
}

func helperPath() string {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return path
}

// program runs one of the programs to its end.
func program(t *testing.T, name string) (stdout, stderr string) {
	t.Helper()
	needUserNS(t)
	c := testenv.Command(t, name)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, &out, &errs)
	}
	return out.String(), errs.String()
}

// Other packages' Init does as well, where the program says so. containers/storage#1058,
// podman#4127: its result misread; here it never returns in a worker.
func TestProgramsThatCallInit(t *testing.T) {
	for _, name := range []string{"gonso.Init", "reexec.Init", "reexec.Init, result ignored", "both", "both, the other way", "Init late", "another registry"} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr := program(t, name)
			if !strings.HasSuffix(stdout, "ok\nunshare: <nil>\n") {
				t.Errorf("%s%s", stdout, stderr)
			}
			if n := strings.Count(stderr, "generation\n"); n != 1 {
				t.Errorf("main went on %d times:\n%s", n, stderr)
			}
		})
	}
}

// Entries of the program's own keep working; Init ends the process after them.
func TestOtherEntriesKeepWorking(t *testing.T) {
	c := testenv.Command(t, "gonso.Init")
	c.Args[0] = "isolation-test-entry"
	if out, err := c.CombinedOutput(); err != nil || string(out) != "entry\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

// containerd#1966: main belongs to somebody else.
func TestProgramWithoutInitCanNameAHelper(t *testing.T) {
	stdout, stderr := program(t, "no Init, but a helper")
	if stdout != "with a helper: <nil>\n" || strings.Contains(stderr, "generation") {
		t.Errorf("%s%s", stdout, stderr)
	}
}

// container-libs#160, containers/storage#959: each generation starts the next. Main does not run a second
// time at all, inside and as root, and the caller is told why.
func TestForgottenInitCannotRunMainAgain(t *testing.T) {
	for _, name := range []string{"no Init", "no Init, exits"} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr := program(t, name)
			for _, s := range []string{"not initialized: true", "call gonso.Init() first in main"} {
				if !strings.Contains(stdout, s) {
					t.Errorf("no %q in:\n%s", s, stdout)
				}
			}
			if n := strings.Count(stderr, "generation\n"); n != 1 {
				t.Errorf("%d generations:\n%s", n, stderr)
			}
		})
	}
}

// byHand starts this program as a worker the way only gonso should, with a
// socket or another file as descriptor 3.
func byHand(t *testing.T, path string, fd3 *os.File, cred *syscall.Credential) (exit int, stderr string) {
	t.Helper()
	c := exec.Command(path)
	c.Args = []string{"gonso-worker"}
	if fd3 != nil {
		c.ExtraFiles = []*os.File{fd3}
	}
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	var errs bytes.Buffer
	c.Stderr = &errs
	err := c.Run()
	var ee *exec.ExitError
	if err != nil && !errors.As(err, &ee) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), errs.String()
}

// listen makes a connection to hand to a worker, of which heard tells how often it greeted. Its parent has
// nothing to say.
func listen() (there *os.File, heard func() int, err error) {
	conn, there, err := wire.Pair()
	if err != nil {
		return nil, nil, err
	}
	greetings := make(chan int, 1)
	go func() {
		defer conn.Close()
		for n := 0; ; n++ {
			if f, err := conn.Read(); err != nil || f.Type == wire.Ready {
				if err == nil {
					n++
				}
				greetings <- n
				return
			}
		}
	}()
	return there, func() int { return <-greetings }, nil
}

func connection(t *testing.T) (there *os.File, heard func() int) {
	t.Helper()
	there, heard, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { there.Close() })
	return there, heard
}

func TestWorkerStartedByHandRefuses(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	file, err := os.Open("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for name, fd3 := range map[string]*os.File{"nothing": nil, "a pipe": w, "a file": file} {
		t.Run(name, func(t *testing.T) {
			exit, stderr := byHand(t, "/proc/self/exe", fd3, nil)
			if exit != 126 || !strings.Contains(stderr, "gonso: refused to serve as a worker") {
				t.Errorf("exit status %d: %s", exit, stderr)
			}
		})
	}
	t.Run("a connection", func(t *testing.T) { // what is refused above is not everything
		there, heard := connection(t)
		exit, stderr := byHand(t, "/proc/self/exe", there, nil)
		there.Close()
		if n := heard(); exit != 0 || n != 2 {
			t.Errorf("exit status %d, %d greetings: %s", exit, n, stderr)
		}
	})
}

// suidDir makes a directory in parent that all users may enter and that honours the setuid bit.
func suidDir(t *testing.T, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "gonso-isolation-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Flags&unix.ST_NOSUID != 0 {
		need(t, "suid", fmt.Errorf("%s has none, %v", dir, err))
	}
	return dir
}

// Who starts a setuid program chooses its argv[0], and must not choose the
// functions that it runs.
func TestSetuidProgramCannotBeMadeAWorker(t *testing.T) {
	needRoot(t)
	dir := suidDir(t, "")
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "program")
	if err := errors.Join(os.WriteFile(path, b, 0o755), os.Chown(path, 65533, 65533)); err != nil {
		t.Fatal(err)
	}
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	for _, setuid := range []bool{false, true} {
		mode := os.FileMode(0o755)
		if setuid {
			mode |= os.ModeSetuid
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		there, heard := connection(t)
		exit, stderr := byHand(t, path, there, nobody)
		there.Close()
		n := heard()
		if setuid && (exit != 126 || !strings.Contains(stderr, "AT_SECURE") || n != 0) {
			t.Errorf("setuid: exit status %d, %d greetings: %s", exit, n, stderr)
		}
		if !setuid && (exit != 0 || n != 2) {
			t.Errorf("not setuid: exit status %d, %d greetings: %s", exit, n, stderr)
		}
	}
}
