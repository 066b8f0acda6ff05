package gonso

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// commandSets are Sets of every kind that this user can have.
func commandSets(t testing.TB) map[string]*Set {
	t.Helper()
	sets := map[string]*Set{"zero": {}}
	if testenv.Has(testenv.Root) {
		sets["net+uts+mnt"] = unshare(t, Net|UTS|Mount)
		sets["pid"] = unshare(t, PID)
	}
	if testenv.Has(testenv.UserNS) {
		sets["user"] = unshare(t, User)
		sets["user+pid+mnt"] = unshare(t, User|PID|Mount)
	}
	return sets
}

func TestCommandIsInside(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("cat"))
	for name, s := range commandSets(t) {
		t.Run(name, func(t *testing.T) {
			testenv.Leaks(t)
			c := s.Command(context.Background(), "cat")
			in, err := c.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := c.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			wantLinks(t, c.Process.Pid, 0, inside(t, s))
			if ppid := statusOf(t, c.Process.Pid)["PPid"]; ppid != strconv.Itoa(os.Getpid()) {
				t.Errorf("its parent is %s", ppid)
			}
			io.WriteString(in, "echo")
			in.Close()
			if b, err := io.ReadAll(out); string(b) != "echo" || err != nil {
				t.Errorf("%q, %v", b, err)
			}
			if err := c.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// Only the files that were asked for, in their places, whatever this process leaks.
func TestCommandFiles(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("sh"))
	leaked, err := unix.FcntlInt(0, unix.F_DUPFD, 40)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(leaked)
	for name, s := range commandSets(t) {
		for n := range 9 {
			c := s.Command(context.Background(), "sh", "-c", "exec ls -l /proc/self/fd")
			var want []string
			for i := range n {
				if i == 1 {
					c.ExtraFiles = append(c.ExtraFiles, nil)
					continue
				}
				f, err := os.Create(t.TempDir() + "/f" + strconv.Itoa(i))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				c.ExtraFiles = append(c.ExtraFiles, f)
				want = append(want, strconv.Itoa(3+i)+" -> "+f.Name())
			}
			out, err := c.CombinedOutput()
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			var got []string
			for line := range strings.Lines(string(out)) {
				_, fd, ok := strings.Cut(strings.TrimSpace(line), ":")
				fd = strings.TrimSpace(fd)
				if i := strings.Index(fd, " "); ok && i > 0 {
					fd = fd[i+1:]
				}
				if strings.Contains(fd, " -> ") && !strings.HasPrefix(fd, "0 ") && !strings.HasPrefix(fd, "1 ") &&
					!strings.HasPrefix(fd, "2 ") && !strings.Contains(fd, "-> /proc/") {
					got = append(got, fd)
				}
			}
			slices.Sort(got)
			slices.Sort(want)
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%s, %d files:\n%s\nwant\n%s\nof\n%s", name, n, strings.Join(got, "\n"), strings.Join(want, "\n"), out)
			}
		}
	}
}

// A reader that never gives anything does not keep an error of Start waiting,
// and what it would have given is still there.
func TestCommandErrors(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("true"))
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/plain", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/garbage", []byte{1, 2, 3}, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	never, w := io.Pipe()
	defer w.Close()
	closed := newSet(newCore().ready())
	closed.Close()
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, s := range commandSets(t) {
		t.Run(name, func(t *testing.T) {
			testenv.Leaks(t)
			for what, tt := range map[string]struct {
				change func(*Cmd)
				want   error
			}{
				"no such name":     {func(c *Cmd) { c.Path = "gonso-no-such" }, exec.ErrNotFound},
				"no PATH":          {func(c *Cmd) { c.Path, c.Env = "true", []string{"PATH="} }, exec.ErrNotFound},
				"relative PATH":    {func(c *Cmd) { c.Path, c.Env = "plain", []string{"PATH=.::x"} }, exec.ErrNotFound},
				"not executable":   {func(c *Cmd) { c.Path, c.Env = "plain", []string{"PATH=/nowhere:" + dir + ":/nowhere"} }, fs.ErrPermission},
				"no such file":     {func(c *Cmd) { c.Path = dir + "/none" }, fs.ErrNotExist},
				"below a file":     {func(c *Cmd) { c.Path = dir + "/plain/x" }, unix.ENOTDIR},
				"may not":          {func(c *Cmd) { c.Path = dir + "/plain" }, fs.ErrPermission},
				"a directory":      {func(c *Cmd) { c.Path = dir }, fs.ErrPermission},
				"not a program":    {func(c *Cmd) { c.Path = dir + "/garbage" }, unix.ENOEXEC},
				"no such Dir":      {func(c *Cmd) { c.Dir = dir + "/none" }, fs.ErrNotExist},
				"Dir is a file":    {func(c *Cmd) { c.Dir = dir + "/plain" }, unix.ENOTDIR},
				"cancelled before": {func(c *Cmd) { c.ctx = cancelled }, context.Canceled},
				"closed":           {func(c *Cmd) { c.set = closed }, ErrClosed},
				"error of its own": {func(c *Cmd) { c.Err = io.ErrNoProgress }, io.ErrNoProgress},
				"no such Chroot":   {func(c *Cmd) { c.Chroot = dir + "/none" }, nil},
				"NUL in Path":      {func(c *Cmd) { c.Path = "/a\x00b" }, nil},
				"NUL in Args":      {func(c *Cmd) { c.Args = []string{"a\x00b"} }, nil},
				"NUL in Env":       {func(c *Cmd) { c.Env = []string{"a=\x00b"} }, nil},
				"a closed file":    {func(c *Cmd) { c.ExtraFiles = []*os.File{closedFile(t)} }, os.ErrClosed},
				"a closed Stdin":   {func(c *Cmd) { c.Stdin = closedFile(t) }, os.ErrClosed},
				"a closed Exe":     {func(c *Cmd) { c.Exe = closedFile(t) }, os.ErrClosed},
				"a closed Cgroup":  {func(c *Cmd) { c.Cgroup = closedFile(t) }, os.ErrClosed},
			} {
				c := s.Command(context.Background(), "true")
				c.Stdin, c.Stdout = never, new(strings.Builder)
				tt.change(c)
				err := c.Start()
				if err == nil {
					c.Process.Kill()
					c.Wait()
				}
				if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
					t.Errorf("%s: %v; want %v", what, err, tt.want)
				}
				if err := c.Wait(); !errors.Is(err, errNotStarted) {
					t.Errorf("%s: Wait: %v", what, err)
				}
				if err := c.Start(); !errors.Is(err, errStarted) {
					t.Errorf("%s: started again: %v", what, err)
				}
			}
		})
	}
}

// Wherever a launch fails, what it was to be given through pipes is closed.
func TestCommandErrorsClosePipes(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("true"))
	for name, s := range commandSets(t) {
		t.Run(name, func(t *testing.T) {
			testenv.Leaks(t)
			for what, change := range map[string]func(*Cmd){
				"refused at once":      func(c *Cmd) { c.Err = io.ErrNoProgress },
				"not prepared":         func(c *Cmd) { c.Path = "a\x00/b" },
				"self, not prepared":   func(c *Cmd) { c.self, c.Dir = true, "a\x00" },
				"without a process":    func(c *Cmd) { c.Args = []string{"a\x00b"} },
				"refused by a step":    func(c *Cmd) { c.Dir = "/gonso/none" },
				"nothing to execute":   func(c *Cmd) { c.Path = "/gonso/none" },
				"nothing in any place": func(c *Cmd) { c.Path = "gonso-none" },
			} {
				c := s.Command(context.Background(), "true")
				in, err1 := c.StdinPipe()
				out, err2 := c.StdoutPipe()
				errs, err3 := c.StderrPipe()
				if err := errors.Join(err1, err2, err3); err != nil {
					t.Fatal(err)
				}
				change(c)
				if err := c.Start(); err == nil {
					c.Wait()
					t.Errorf("%s: started", what)
				}
				_, werr := in.Write([]byte{0})
				_, rerr := out.Read([]byte{0})
				_, eerr := errs.Read([]byte{0})
				for _, err := range []error{werr, rerr, eerr} {
					if !errors.Is(err, os.ErrClosed) {
						t.Errorf("%s: %v", what, err)
					}
				}
			}
		})
	}
}

func closedFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	return f
}

// The file that a name means is that of the Set's mount namespace.
func TestCommandLooksInside(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS, testenv.Tool("mount"))
	testenv.Leaks(t)
	s := unshare(t, User|Mount)
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/outside", []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	const script = `mount -t tmpfs none "$1" && cd "$1" && printf '#!/bin/sh\necho inside\n' >prog && chmod +x prog`
	if out, err := s.Command(context.Background(), "sh", "-c", script, "sh", dir).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	env := []string{"PATH=/gonso/none:" + dir}
	for name, want := range map[string]error{"prog": nil, "outside": exec.ErrNotFound, dir + "/prog": nil, dir + "/outside": fs.ErrNotExist} {
		c := s.Command(context.Background(), name)
		c.Env = env
		if out, err := c.Output(); !errors.Is(err, want) || want == nil && string(out) != "inside\n" {
			t.Errorf("%s: %q, %v; want %v", name, out, err, want)
		}
	}
	c := s.Command(context.Background(), "./prog")
	c.Dir = dir
	if out, err := c.Output(); err != nil || string(out) != "inside\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestCommandDirFile(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("pwd"), testenv.Tool("ls"))
	testenv.Leaks(t)
	path := t.TempDir()
	dir, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for name, s := range commandSets(t) {
		f := dir
		if s.Types()&Mount != 0 {
			if f, err = s.OpenFile(t.Context(), path, unix.O_PATH|unix.O_DIRECTORY, 0); err != nil {
				t.Fatal(err)
			}
			defer f.Close()
		}
		for what, files := range map[string][]*os.File{"plain": nil, "with files": {dir, nil, dir}} {
			c := s.Command(t.Context(), "sh", "-c", "pwd -P; ls /proc/self/fd")
			c.DirFile, c.ExtraFiles = f, files
			out, err := c.CombinedOutput()
			got, fds, _ := strings.Cut(string(out), "\n")
			if err != nil || got != path {
				t.Errorf("%s, %s: %q, %v; want %s", name, what, got, err, path)
			}
			if n := strings.Count(fds, "\n"); n != 4+len(files)-strings.Count(what, "files") && !strings.Contains(name, "pid") {
				t.Errorf("%s, %s: descriptors %q", name, what, fds)
			}
		}
		exe, err := os.Open("/bin/pwd")
		if err != nil {
			t.Fatal(err)
		}
		c := s.Command(t.Context(), "pwd", "-P")
		c.DirFile, c.Exe = f, exe
		if out, err := c.CombinedOutput(); err != nil || string(out) != path+"\n" {
			t.Errorf("%s, Exe: %q, %v; want %s", name, out, err, path)
		}
		exe.Close()
	}

	file, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	closed, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for _, c := range []struct {
		what  string
		set   func(*Cmd)
		is    error
		words string
	}{
		{"file", func(c *Cmd) { c.DirFile = file }, unix.ENOTDIR, "DirFile: chdir /proc/self/status"},
		{"closed", func(c *Cmd) { c.DirFile = closed }, os.ErrClosed, "DirFile"},
		{"with Dir", func(c *Cmd) { c.DirFile, c.Dir = dir, "/" }, os.ErrInvalid, "Dir and DirFile exclude"},
		{"with Chroot", func(c *Cmd) { c.DirFile, c.Chroot = dir, "/" }, os.ErrInvalid, "Chroot and DirFile exclude"},
	} {
		cmd := new(Set).Command(t.Context(), "true")
		c.set(cmd)
		wantError(t, c.what, cmd.Run(), c.is, c.words)
	}
	if testenv.Has(testenv.UserNS, testenv.Tool("sleep")) {
		cmd := owned(t)(FromPID(sleeper(t, User|Mount), User, Mount)).Command(t.Context(), "true")
		cmd.DirFile = dir
		wantError(t, "theirs", cmd.Run(), fs.ErrPermission, "gonso: start: DirFile: "+path, "OpenFile")
	}
}
