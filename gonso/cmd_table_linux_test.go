package gonso

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gonso/gonso/internal/testenv"
)

// Package exec's behaviours are the specification: what a behaviour shows must
// be the same of both.

// cmdMethods is what both have, with their fields by pointer.
type cmdMethods interface {
	Start() error
	Wait() error
	Run() error
	Output() ([]byte, error)
	CombinedOutput() ([]byte, error)
	StdinPipe() (io.WriteCloser, error)
	StdoutPipe() (io.ReadCloser, error)
	StderrPipe() (io.ReadCloser, error)
	Environ() []string
	String() string
}

type eitherCmd struct {
	cmdMethods
	path, dir      *string
	args, env      *[]string
	stdin          *io.Reader
	stdout, stderr *io.Writer
	extra          *[]*os.File
	cancel         *func() error
	delay          *time.Duration
	process        **os.Process
	state          **os.ProcessState
	err            *error
	attr           func(setsid, setpgid bool)
}

type cmdMaker func(ctx context.Context, name string, args ...string) *eitherCmd

func fromExec(ctx context.Context, name string, args ...string) *eitherCmd {
	c := exec.CommandContext(ctx, name, args...)
	return &eitherCmd{c, &c.Path, &c.Dir, &c.Args, &c.Env, &c.Stdin, &c.Stdout, &c.Stderr, &c.ExtraFiles, &c.Cancel, &c.WaitDelay, &c.Process, &c.ProcessState, &c.Err,
		func(sid, pgid bool) { c.SysProcAttr = &syscall.SysProcAttr{Setsid: sid, Setpgid: pgid} }}
}

func fromSet(s *Set) cmdMaker {
	return func(ctx context.Context, name string, args ...string) *eitherCmd {
		c := s.Command(ctx, name, args...)
		return &eitherCmd{c, &c.Path, &c.Dir, &c.Args, &c.Env, &c.Stdin, &c.Stdout, &c.Stderr, &c.ExtraFiles, &c.Cancel, &c.WaitDelay, &c.Process, &c.ProcessState, &c.Err,
			func(sid, pgid bool) { c.Setsid, c.Setpgid = sid, pgid }}
	}
}

// sh is a shell, not to be ended by a context.
func (m cmdMaker) sh(script string, args ...string) *eitherCmd {
	return m(context.Background(), "sh", append([]string{"-c", script, "sh"}, args...)...)
}

// told is an error as far as programs can tell, or should.
func told(err error) string {
	var ee *exec.ExitError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &ee):
		return fmt.Sprintf("ExitError %v code %d stderr %d %.20q", ee, ee.ExitCode(), len(ee.Stderr), ee.Stderr)
	}
	for _, is := range []error{
		exec.ErrNotFound, exec.ErrWaitDelay, fs.ErrNotExist, fs.ErrPermission, context.Canceled, context.DeadlineExceeded,
		os.ErrProcessDone, io.ErrNoProgress, syscall.ENOTDIR, syscall.ENOEXEC, syscall.E2BIG, syscall.EINVAL,
	} {
		if errors.Is(err, is) {
			return "is " + is.Error()
		}
	}
	if nul := "environment variable contains NUL"; strings.Contains(err.Error(), nul) {
		return nul // which package exec has no error of its own for
	}
	return err.Error()
}

// failingStream gives and takes nothing but an error.
type failingStream struct{}

func (failingStream) Read([]byte) (int, error)  { return 0, io.ErrNoProgress }
func (failingStream) Write([]byte) (int, error) { return 0, io.ErrNoProgress }

// prependPath changes PATH until what it returns is called.
func prependPath(t *testing.T, dirs string) (restore func()) {
	t.Helper()
	old := os.Getenv("PATH")
	if err := os.Setenv("PATH", dirs+":"+old); err != nil {
		t.Fatal(err)
	}
	return func() { os.Setenv("PATH", old) }
}

// after runs c, ends ctx once it printed a line, and tells how it ended.
func (b *eitherCmd) after(cancel func()) string {
	out, err := b.StdoutPipe()
	if err != nil {
		return told(err)
	}
	if err := b.Start(); err != nil {
		return told(err)
	}
	line := make([]byte, 1)
	_, rerr := io.ReadFull(out, line)
	cancel()
	return fmt.Sprint(string(line), " ", told(rerr), " ", told(b.Wait()), " ", *b.state)
}

var behaviours = []struct {
	name string
	show func(t *testing.T, m cmdMaker) string
}{
	{"exit status 0", func(t *testing.T, m cmdMaker) string { return told(m.sh("exit 0").Run()) }},
	{"exit status 1", func(t *testing.T, m cmdMaker) string { return told(m.sh("exit 1").Run()) }},
	{"exit status 255", func(t *testing.T, m cmdMaker) string { return told(m.sh("exit 255").Run()) }},
	{"ended by SIGKILL", func(t *testing.T, m cmdMaker) string { return told(m.sh(`exec cat`).killed(syscall.SIGKILL)) }},
	{"ended by SIGTERM", func(t *testing.T, m cmdMaker) string { return told(m.sh(`exec cat`).killed(syscall.SIGTERM)) }},
	{"ProcessState", func(t *testing.T, m cmdMaker) string {
		c := m.sh("exit 7")
		err := c.Run()
		s := *c.state
		return fmt.Sprint(told(err), s, s.Exited(), s.Success(), s.ExitCode(), s.Pid() == (*c.process).Pid)
	}},
	{"Output", func(t *testing.T, m cmdMaker) string {
		b, err := m.sh("echo out; echo err >&2").Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"Output with an exit error", func(t *testing.T, m cmdMaker) string {
		b, err := m.sh("echo out; echo err >&2; exit 3").Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"Output with much on Stderr", func(t *testing.T, m cmdMaker) string {
		b, err := m.sh("head -c 200000 /dev/zero >&2; exit 3").Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"Output with Stderr set", func(t *testing.T, m cmdMaker) string {
		var e bytes.Buffer
		c := m.sh("echo err >&2; exit 3")
		*c.stderr = &e
		b, err := c.Output()
		return fmt.Sprintf("%q %s %s", b, told(err), &e)
	}},
	{"Output with Stdout set", func(t *testing.T, m cmdMaker) string {
		c := m.sh("true")
		*c.stdout = io.Discard
		_, err := c.Output()
		return told(err)
	}},
	{"CombinedOutput", func(t *testing.T, m cmdMaker) string {
		b, err := m.sh("echo out; echo err >&2; echo out; exit 2").CombinedOutput()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"CombinedOutput with Stderr set", func(t *testing.T, m cmdMaker) string {
		c := m.sh("true")
		*c.stderr = io.Discard
		_, err := c.CombinedOutput()
		return told(err)
	}},
	{"large output", func(t *testing.T, m cmdMaker) string {
		b, err := m.sh("head -c 5000000 /dev/zero").Output()
		return fmt.Sprint(len(b), told(err))
	}},
	{"large input", func(t *testing.T, m cmdMaker) string {
		c := m.sh("wc -c")
		*c.stdin = bytes.NewReader(make([]byte, 5000000))
		b, err := c.Output()
		return fmt.Sprint(strings.TrimSpace(string(b)), told(err))
	}},
	{"input that is not read", func(t *testing.T, m cmdMaker) string {
		c := m.sh("exec <&-; exit 0")
		*c.stdin = bytes.NewReader(make([]byte, 5000000))
		return told(c.Run())
	}},
	{"a reader that fails", func(t *testing.T, m cmdMaker) string {
		c := m.sh("cat")
		*c.stdin = failingStream{}
		return told(c.Run())
	}},
	{"a writer that fails", func(t *testing.T, m cmdMaker) string {
		c := m.sh("echo")
		*c.stdout = failingStream{}
		return told(c.Run())
	}},
	{"a writer that fails, and an exit error", func(t *testing.T, m cmdMaker) string {
		c := m.sh("echo; exit 9")
		*c.stdout = failingStream{}
		return told(c.Run())
	}},
	{"no Stdin is /dev/null", func(t *testing.T, m cmdMaker) string {
		b, err := m.sh("readlink /proc/self/fd/0; cat").Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"no Stdout is /dev/null", func(t *testing.T, m cmdMaker) string {
		return told(m.sh(`test /proc/self/fd/1 -ef /dev/null -a /proc/self/fd/2 -ef /dev/null`).Run())
	}},
	{"the same writer twice is one pipe", func(t *testing.T, m cmdMaker) string {
		c := m.sh(`test /proc/self/fd/1 -ef /proc/self/fd/2; echo $?`)
		var b bytes.Buffer
		*c.stdout, *c.stderr = &b, &b
		err := c.Run()
		return b.String() + told(err)
	}},
	{"files as streams", func(t *testing.T, m cmdMaker) string {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		c := m.sh("test -f /proc/self/fd/1 && echo x; echo y >&2")
		*c.stdout, *c.stderr = f, f
		err = c.Run()
		b, rerr := os.ReadFile(f.Name())
		return fmt.Sprintf("%q %s %s", b, told(err), told(rerr))
	}},
	{"StdinPipe and StdoutPipe", func(t *testing.T, m cmdMaker) string {
		c := m.sh("read x; echo got $x")
		in, err1 := c.StdinPipe()
		out, err2 := c.StdoutPipe()
		err3 := c.Start()
		io.WriteString(in, "line\n")
		b, err4 := io.ReadAll(out)
		return fmt.Sprint(string(b), err1, err2, err3, err4, told(c.Wait()))
	}},
	{"StderrPipe", func(t *testing.T, m cmdMaker) string {
		c := m.sh("echo e >&2")
		out, err := c.StderrPipe()
		err2 := c.Start()
		b, err3 := io.ReadAll(out)
		return fmt.Sprint(string(b), err, err2, err3, told(c.Wait()))
	}},
	{"StdinPipe closed twice", func(t *testing.T, m cmdMaker) string {
		c := m.sh("cat")
		in, _ := c.StdinPipe()
		err := c.Start()
		return fmt.Sprint(err, in.Close(), in.Close(), told(c.Wait()))
	}},
	{"StdinPipe broken", func(t *testing.T, m cmdMaker) string {
		c := m.sh("exit 0")
		in, _ := c.StdinPipe()
		err := c.Start()
		(*c.process).Wait()
		_, werr := in.Write([]byte("x"))
		c.Wait()
		return fmt.Sprint(err, errors.Is(werr, syscall.EPIPE))
	}},
	{"StdinPipe with Stdin set", func(t *testing.T, m cmdMaker) string {
		c := m.sh("true")
		*c.stdin = os.Stdin
		_, err := c.StdinPipe()
		return told(err)
	}},
	{"StdoutPipe twice", func(t *testing.T, m cmdMaker) string {
		c := m.sh("true")
		c.StdoutPipe()
		_, err := c.StdoutPipe()
		return told(err) + told(c.Run())
	}},
	{"StderrPipe with Stderr set", func(t *testing.T, m cmdMaker) string {
		c := m.sh("true")
		*c.stderr = io.Discard
		_, err := c.StderrPipe()
		return told(err)
	}},
	{"pipes after Start", func(t *testing.T, m cmdMaker) string {
		c := m.sh("true")
		err := c.Start()
		_, err1 := c.StdinPipe()
		_, err2 := c.StdoutPipe()
		_, err3 := c.StderrPipe()
		return fmt.Sprint(err, told(err1), told(err2), told(err3), told(c.Wait()))
	}},
	{"ExtraFiles in order", func(t *testing.T, m cmdMaker) string {
		c := m.sh("cat <&3; cat <&4; cat <&6; test -e /proc/self/fd/5; echo $?; cat <&9")
		for i := range 7 {
			if i == 2 {
				*c.extra = append(*c.extra, nil)
				continue
			}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			fmt.Fprint(w, i)
			w.Close()
			*c.extra = append(*c.extra, r)
		}
		b, err := c.Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"one file many times", func(t *testing.T, m cmdMaker) string {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		c := m.sh("echo a >&3; echo b >&5; echo c")
		*c.stdout, *c.extra = w, []*os.File{w, nil, w}
		err = c.Run()
		w.Close()
		b, _ := io.ReadAll(r)
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"Env", func(t *testing.T, m cmdMaker) string {
		c := m.sh("echo $A-$B-$HOME")
		*c.env = []string{"A=1", "B=2", "A=3"}
		b, err := c.Output()
		return fmt.Sprintf("%q %s %q", b, told(err), c.Environ())
	}},
	{"empty Env", func(t *testing.T, m cmdMaker) string {
		c := m(context.Background(), "/usr/bin/env")
		*c.env = []string{}
		b, err := c.Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"inherited Env", func(t *testing.T, m cmdMaker) string {
		t.Setenv("GONSO_TABLE", "x")
		b, err := m.sh("echo $GONSO_TABLE").Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"Environ", func(t *testing.T, m cmdMaker) string {
		c := m.sh("true")
		*c.dir = "/usr"
		return strings.Join(c.Environ(), "\n")
	}},
	{"NUL in Env", func(t *testing.T, m cmdMaker) string {
		c := m.sh("true")
		*c.env = []string{"A=\x00"}
		return told(c.Run())
	}},
	{"Dir", func(t *testing.T, m cmdMaker) string {
		c := m.sh("pwd; echo $PWD")
		*c.dir = "/usr"
		b, err := c.Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"path relative to Dir", func(t *testing.T, m cmdMaker) string {
		c := m(context.Background(), "./sh", "-c", "pwd")
		*c.dir = "/bin"
		b, err := c.Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"no such Dir", func(t *testing.T, m cmdMaker) string {
		c := m.sh("true")
		*c.dir = "/gonso-none"
		return told(c.Run())
	}},
	{"Dir is a file", func(t *testing.T, m cmdMaker) string {
		c := m.sh("true")
		*c.dir = "/etc/passwd"
		return told(c.Run())
	}},
	{"Args", func(t *testing.T, m cmdMaker) string {
		c := m.sh(`echo $0 $# "$@"`, "a b", "", "c")
		b, err := c.Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"another Args[0]", func(t *testing.T, m cmdMaker) string {
		c := m(context.Background(), "cat", "/proc/self/cmdline")
		(*c.args)[0] = "dog"
		b, err := c.Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"NUL in Args", func(t *testing.T, m cmdMaker) string { return told(m.sh("a\x00b").Run()) }},
	{"Args too long", func(t *testing.T, m cmdMaker) string {
		return told(m.sh("true", strings.Repeat("x", 200<<10)).Run())
	}},
	{"no such name", func(t *testing.T, m cmdMaker) string { return told(m(context.Background(), "gonso-none").Run()) }},
	{"no such path", func(t *testing.T, m cmdMaker) string { return told(m(context.Background(), "/gonso/none").Run()) }},
	{"a name that is too long", func(t *testing.T, m cmdMaker) string {
		return told(m(context.Background(), strings.Repeat("x", 300)).Run())
	}},
	{"places that cannot be looked in", func(t *testing.T, m cmdMaker) string {
		dir := t.TempDir()
		for _, d := range []string{"/dir/sh", "/file", "/loop"} {
			if err := os.MkdirAll(dir+d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := errors.Join(os.WriteFile(dir+"/file/sh", nil, 0o644), os.Symlink("sh", dir+"/loop/sh")); err != nil {
			t.Fatal(err)
		}
		long := strings.Repeat("x", 300)
		defer prependPath(t, strings.Join([]string{
			"/gonso/none", "/etc/passwd", dir + "/dir", dir + "/file", dir + "/loop", "/" + long,
			"/" + strings.Repeat("x/", 3000),
		}, ":"))()
		b, err := m.sh("echo found").Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"many places", func(t *testing.T, m cmdMaker) string {
		var path strings.Builder
		path.WriteString("/gonso/none")
		for i := range 1000 {
			fmt.Fprintf(&path, ":/gonso/none/%064d/bin", i)
		}
		defer prependPath(t, path.String())()
		b, err := m.sh("echo found").Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"a directory", func(t *testing.T, m cmdMaker) string { return told(m(context.Background(), "/usr").Run()) }},
	{"not executable", func(t *testing.T, m cmdMaker) string { return told(m(context.Background(), "/etc/passwd").Run()) }},
	{"no command", func(t *testing.T, m cmdMaker) string { return told(m(context.Background(), "").Run()) }},
	{"Err", func(t *testing.T, m cmdMaker) string {
		c := m.sh("true")
		*c.err = io.ErrNoProgress
		return told(c.Run())
	}},
	{"a script", func(t *testing.T, m cmdMaker) string {
		p := t.TempDir() + "/script"
		if err := os.WriteFile(p, []byte("#!/bin/sh\necho script $1\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		b, err := m(context.Background(), p, "x").Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"a script without an interpreter", func(t *testing.T, m cmdMaker) string {
		p := t.TempDir() + "/script"
		if err := os.WriteFile(p, []byte("#!/gonso/none\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		return told(m(context.Background(), p).Run())
	}},
	{"not a program", func(t *testing.T, m cmdMaker) string {
		p := t.TempDir() + "/x"
		if err := os.WriteFile(p, []byte{1, 2, 3}, 0o755); err != nil {
			t.Fatal(err)
		}
		return told(m(context.Background(), p).Run())
	}},
	{"Start twice", func(t *testing.T, m cmdMaker) string {
		c := m.sh("exit 4")
		return told(c.Start()) + told(c.Start()) + told(c.Wait())
	}},
	{"Wait without Start", func(t *testing.T, m cmdMaker) string { return told(m.sh("true").Wait()) }},
	{"Wait after a failed Start", func(t *testing.T, m cmdMaker) string {
		c := m(context.Background(), "/gonso/none")
		return told(c.Start()) + told(c.Wait()) + told(c.Start())
	}},
	{"Wait twice", func(t *testing.T, m cmdMaker) string {
		c := m.sh("exit 4")
		return told(c.Start()) + told(c.Wait()) + told(c.Wait())
	}},
	{"signal after the end", func(t *testing.T, m cmdMaker) string {
		c := m.sh("true")
		return told(c.Run()) + told((*c.process).Signal(syscall.SIGTERM))
	}},
	{"context cancelled before", func(t *testing.T, m cmdMaker) string {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		return told(m(ctx, "true").Run())
	}},
	{"context cancelled", func(t *testing.T, m cmdMaker) string {
		ctx, cancel := context.WithCancel(context.Background())
		return m(ctx, "sh", "-c", "echo; exec cat /dev/zero >/dev/null").after(cancel)
	}},
	{"context's deadline", func(t *testing.T, m cmdMaker) string {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		return told(m(ctx, "sleep", "600").Run())
	}},
	{"context cancelled after the end", func(t *testing.T, m cmdMaker) string {
		ctx, cancel := context.WithCancel(context.Background())
		err := m(ctx, "true").Run()
		cancel()
		return told(err)
	}},
	{"Cancel", func(t *testing.T, m cmdMaker) string {
		ctx, cancel := context.WithCancel(context.Background())
		c := m(ctx, "sh", "-c", "trap 'exit 5' TERM; echo; while :; do sleep 0.05; done")
		*c.cancel = func() error { return (*c.process).Signal(syscall.SIGTERM) }
		return c.after(cancel)
	}},
	{"Cancel and exit status 0", func(t *testing.T, m cmdMaker) string {
		ctx, cancel := context.WithCancel(context.Background())
		c := m(ctx, "sh", "-c", "trap 'exit 0' TERM; echo; while :; do sleep 0.05; done")
		*c.cancel = func() error { return (*c.process).Signal(syscall.SIGTERM) }
		return c.after(cancel)
	}},
	{"Cancel that says done", func(t *testing.T, m cmdMaker) string {
		ctx, cancel := context.WithCancel(context.Background())
		c := m(ctx, "sh", "-c", "trap 'exit 0' TERM; echo; while :; do sleep 0.05; done")
		*c.cancel = func() error {
			(*c.process).Signal(syscall.SIGTERM)
			return os.ErrProcessDone
		}
		return c.after(cancel)
	}},
	{"Cancel that fails", func(t *testing.T, m cmdMaker) string {
		ctx, cancel := context.WithCancel(context.Background())
		c := m(ctx, "sh", "-c", "trap 'exit 0' TERM; echo; while :; do sleep 0.05; done")
		*c.cancel = func() error {
			(*c.process).Signal(syscall.SIGTERM)
			return io.ErrNoProgress
		}
		return c.after(cancel)
	}},
	{"no Cancel", func(t *testing.T, m cmdMaker) string {
		ctx, cancel := context.WithCancel(context.Background())
		c := m(ctx, "sh", "-c", "echo; sleep 0.1; exit 6")
		*c.cancel = nil
		return c.after(cancel)
	}},
	{"WaitDelay kills what ignores Cancel", func(t *testing.T, m cmdMaker) string {
		ctx, cancel := context.WithCancel(context.Background())
		c := m(ctx, "sh", "-c", "trap '' TERM; echo; while :; do sleep 0.05; done")
		*c.cancel = func() error { return (*c.process).Signal(syscall.SIGTERM) }
		*c.delay = 100 * time.Millisecond
		return c.after(cancel)
	}},
	{"WaitDelay bounds copying", func(t *testing.T, m cmdMaker) string {
		c := m.sh("sleep 2 & exit 0")
		*c.stdout, *c.delay = new(bytes.Buffer), 50*time.Millisecond
		start := time.Now()
		err := c.Run()
		return fmt.Sprint(told(err), time.Since(start) < time.Second)
	}},
	{"WaitDelay and an exit error", func(t *testing.T, m cmdMaker) string {
		c := m.sh("sleep 2 & exit 8")
		*c.stdout, *c.delay = new(bytes.Buffer), 50*time.Millisecond
		return told(c.Run())
	}},
	{"String", func(t *testing.T, m cmdMaker) string {
		return m(context.Background(), "/bin/echo", "a", "b c").String()
	}},
	{"Setsid", func(t *testing.T, m cmdMaker) string {
		c := m.sh(`set -- $(sed 's/.*) //' /proc/self/stat); test $4 != 0 -a $3 = $4; echo $?`)
		c.attr(true, false)
		b, err := c.Output()
		return fmt.Sprintf("%q %s", b, told(err))
	}},
	{"Setpgid", func(t *testing.T, m cmdMaker) string {
		c := m(context.Background(), "cat")
		c.attr(false, true)
		in, _ := c.StdinPipe()
		err := c.Start()
		pgid, gerr := syscall.Getpgid((*c.process).Pid)
		in.Close()
		return fmt.Sprint(err, gerr, pgid == (*c.process).Pid, told(c.Wait()))
	}},
}

// killed starts c and kills it.
func (b *eitherCmd) killed(sig syscall.Signal) error {
	in, err := b.StdinPipe()
	if err != nil {
		return err
	}
	defer in.Close()
	if err := b.Start(); err != nil {
		return err
	}
	(*b.process).Signal(sig)
	return b.Wait()
}

func TestCommandBehavesAsExec(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("sh"), testenv.Tool("head"), testenv.Tool("sed"))
	want := make([]string, len(behaviours))
	for i, b := range behaviours {
		want[i] = b.show(t, fromExec)
	}
	for name, s := range commandSets(t) {
		t.Run(name, func(t *testing.T) {
			testenv.Leaks(t)
			for i, b := range behaviours {
				if got := b.show(t, fromSet(s)); got != want[i] {
					t.Errorf("%s:\n%s\nwant as of os/exec\n%s", b.name, got, want[i])
				}
			}
		})
	}
}
