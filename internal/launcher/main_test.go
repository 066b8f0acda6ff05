//go:build linux

package launcher

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// helpers are what this program is when it is started again.
var helpers = map[string]func() error{
	"args": func() error {
		env, err := os.ReadFile("/proc/self/environ")
		fmt.Printf("%q %q", os.Args[1:], strings.FieldsFunc(string(env), func(r rune) bool { return r == 0 }))
		return err
	},
	"caps": func() error {
		f, err := os.Open("/proc/self/status")
		if err != nil {
			return err
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			if v, ok := strings.CutPrefix(s.Text(), "CapEff:"); ok {
				fmt.Print(strings.TrimSpace(v))
			}
		}
		return nil
	},
	"dumpable": func() error {
		v, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
		fmt.Print(v)
		return err
	},
	"fds": func() error { // but those that this program has opened itself
		for fd := range 1024 {
			if f, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && f&unix.FD_CLOEXEC == 0 {
				fmt.Printf("%d ", fd)
			}
		}
		return nil
	},
	"memfd_noexec": func() error {
		if err := os.WriteFile("/proc/sys/vm/memfd_noexec", []byte("2"), 0); err != nil {
			return err
		}
		p, err := Start(&Cmd{List: new(List)})
		if err != nil {
			return err
		}
		s, err := p.Wait()
		fmt.Print(s, ", kept ", image.file != nil, ", ", newMemfdRefused())
		return err
	},
	"overwrite": overwrite,
	"busy":      busy,
	"emulated":  writeEmulated,
	"records":   readRecords,
	"parent": func() error { // of a launcher that waits; is killed
		var l List
		l.Sync()
		l.Wait()
		p, err := Start(&Cmd{List: &l})
		if err != nil {
			return err
		}
		if err := p.Next(context.Background()); err != nil {
			return err
		}
		fmt.Println(p.Pid)
		for {
			_ = unix.Pause()
		}
	},
}

func newMemfdRefused() string {
	f, err := newMemfd("test", 0o555, strings.NewReader(""))
	if err != nil {
		return "memfd refused"
	}
	f.Close()
	return "memfd allowed"
}

func init() {
	for name, f := range helpers {
		testenv.Program(name, func() {
			if err := f(); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		})
	}
}

// helper and a name are the first argument of a helper, whose environment may be empty.
const helper = testenv.ProgramEnv + "="

func TestMain(m *testing.M) {
	testenv.Begin()
	os.MkdirAll(os.TempDir(), 0o777) // a bare initramfs has none
	for fd := range 1024 {           // what this program was started with is not the tests' affair
		if fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	warmUp()
	before := descriptors()
	code := m.Run()
	if leaked := leaks(before); code == 0 && leaked != "" {
		fmt.Fprintln(os.Stderr, leaked)
		code = 1
	}
	os.Exit(code)
}

// warmUp makes what lasts: the image, the runtime's poller.
func warmUp() {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
	if Supported() != nil {
		return
	}
	p, err := Start(&Cmd{List: new(List)})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	p.Wait()
	p.Close()
}

func descriptors() map[string]string {
	fds := make(map[string]string)
	dir, _ := os.ReadDir("/proc/self/fd")
	for _, d := range dir {
		if target, err := os.Readlink("/proc/self/fd/" + d.Name()); err == nil {
			fds[d.Name()] = target
		}
	}
	return fds
}

func leaks(before map[string]string) string {
	var b strings.Builder
	for fd, target := range descriptors() {
		if before[fd] == "" {
			fmt.Fprintf(&b, "leaked descriptor %s: %s\n", fd, target)
		}
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		fmt.Fprintf(&b, "leaked child: wait4 gives %d, %v\n", pid, err)
	}
	return b.String()
}

func openSelf(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// start starts c and reaps it in the end.
func start(t testing.TB, c *Cmd) *Process {
	t.Helper()
	needLauncher(t)
	if c.Stderr == nil {
		c.Stderr = os.Stderr
	}
	p, err := Start(c)
	if err != nil {
		t.Fatalf("%v\n%v", err, c.List)
	}
	t.Cleanup(func() {
		p.Close()
		p.Kill()
		p.Wait() // fails if the test has waited already
	})
	return p
}

func next(t testing.TB, p *Process) {
	t.Helper()
	if err := p.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// run starts c and returns its end.
func run(t testing.TB, c *Cmd) *os.ProcessState {
	t.Helper()
	p := start(t, c)
	if err := p.Next(t.Context()); err != io.EOF {
		t.Errorf("Next: %v", err)
	}
	return wait(t, p)
}

func wait(t testing.TB, p *Process) *os.ProcessState {
	t.Helper()
	state, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return state
}

func expectExit(t testing.TB, state *os.ProcessState, code int) {
	t.Helper()
	if !state.Exited() || state.ExitCode() != code {
		t.Errorf("%v, want exit status %d", state, code)
	}
}

// output runs c and returns what it prints.
func output(t testing.TB, c *Cmd) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	c.Stdout = w
	p := start(t, c)
	w.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Next(t.Context()); err != io.EOF {
		t.Errorf("Next: %v", err)
	}
	expectExit(t, wait(t, p), 0)
	return string(out)
}

func needLauncher(t testing.TB) {
	t.Helper()
	testenv.Found(t, "process", Supported())
}

// needUserNS skips where user namespaces cannot be made.
func needUserNS(t testing.TB) {
	t.Helper()
	var l List
	l.Unshare(unix.CLONE_NEWUSER)
	p := start(t, &Cmd{List: &l})
	if err := p.Next(t.Context()); err != io.EOF {
		testenv.Found(t, "userns", err)
	}
	expectExit(t, wait(t, p), 0)
}

func needRoot(t testing.TB) {
	t.Helper()
	testenv.Need(t, testenv.Root)
}

func needMemfdNoexec(t testing.TB) {
	t.Helper()
	_, err := os.Stat("/proc/sys/vm/memfd_noexec")
	testenv.Found(t, "memfd_noexec", err)
}
