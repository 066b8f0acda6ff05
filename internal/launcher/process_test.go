//go:build linux

package launcher

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

func TestSupported(t *testing.T) {
	err := Supported()
	if written := textStart() != nil; written != (err == nil) {
		t.Fatal(err)
	}
	if err == nil {
		return
	}
	if !errors.Is(err, errors.ErrUnsupported) || !strings.HasPrefix(err.Error(), "linux/"+runtime.GOARCH+": ") || !strings.Contains(err.Error(), "386, amd64, ") {
		t.Error(err)
	}
	if _, err := Start(&Cmd{List: new(List)}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Start: %v", err)
	}
}

func TestEndOfList(t *testing.T) {
	expectExit(t, run(t, &Cmd{List: new(List)}), 0)
}

func TestExitGroup(t *testing.T) {
	var l List
	l.ExitGroup(42)
	l.ExitGroup(43)
	expectExit(t, run(t, &Cmd{List: &l}), 42)
}

// fails starts a launcher that is to fail and returns its error.
func fails(t *testing.T, c *Cmd) *StepError {
	t.Helper()
	p := start(t, c)
	err := p.Next(t.Context())
	e, ok := errors.AsType[*StepError](err)
	if !ok {
		t.Fatalf("Next: %v, want a StepError", err)
	}
	if err := p.Next(t.Context()); err != io.EOF {
		t.Errorf("Next after the failure: %v", err)
	}
	expectExit(t, wait(t, p), 127)
	return e
}

func TestFailingStep(t *testing.T) {
	var l List
	l.Chdir("/")
	l.Openat(FD(unix.AT_FDCWD), "/proc/self/comm", 0)
	bad := l.Close(FD(999))
	l.ExitGroup(0)
	e := fails(t, &Cmd{List: &l})
	if e.Index != bad.Index() || e.Name != "close" || e.Step != "close(999) = 0" || e.Errno != unix.EBADF ||
		e.Result != -int64(unix.EBADF) || !errors.Is(e, unix.EBADF) {
		t.Errorf("%+v", e)
	}
}

func TestUnexpectedResult(t *testing.T) {
	var l List
	l.Clone(int(unix.SIGCHLD)).gives(0) // true in the child alone
	e := fails(t, &Cmd{List: &l})
	if e.Index != 0 || e.Result <= 0 || e.Errno != 0 || e.Unwrap() != nil {
		t.Errorf("%+v", e)
	}
}

func TestTolerate(t *testing.T) {
	for _, errnos := range [][]syscall.Errno{{unix.EBADF}, {unix.EPERM, unix.EBADF}, {unix.EBADF, unix.EPERM}} {
		var l List
		l.Close(FD(999)).Tolerate(errnos...)
		l.ExitGroup(42)
		expectExit(t, run(t, &Cmd{List: &l}), 42)
	}
	var l List
	l.Close(FD(999)).Tolerate(unix.EPERM, unix.EACCES)
	if e := fails(t, &Cmd{List: &l}); e.Errno != unix.EBADF {
		t.Error(e)
	}
}

func TestWhen(t *testing.T) {
	var l List
	good := l.Chdir("/")
	bad := l.Close(FD(999)).Tolerate(unix.EBADF)
	skipped := l.ExitGroup(1).When(good)
	l.ExitGroup(2).When(skipped)
	l.ExitGroup(3).When(bad)
	expectExit(t, run(t, &Cmd{List: &l}), 3)
}

func TestResults(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var l List
	f := l.Openat(FirstFileFD, "file", unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC)
	l.Write(f, "hello, ")
	copied := l.Dup3(f, FD(30), 0)
	l.Write(copied, "world")
	l.Close(f)
	l.Close(copied)
	l.Openat(FirstFileFD, "empty", unix.O_CREAT|unix.O_EXCL)
	expectExit(t, run(t, &Cmd{List: &l, Files: []*os.File{dir}}), 0)
	path := filepath.Join(dir.Name(), "file")
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if got, err := os.ReadFile(path); string(got) != "hello, world" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
}

func TestHandshake(t *testing.T) {
	var l List
	var want []int
	for range 5 {
		l.Sync()
		want = append(want, l.Wait().Index())
	}
	p := start(t, &Cmd{List: &l})
	for range want {
		next(t, p)
		// Stopping and continuing must not end the wait.
		if err := errors.Join(p.Signal(unix.SIGSTOP), p.Signal(unix.SIGCONT), p.Continue()); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Next(t.Context()); err != io.EOF {
		t.Errorf("Next at the end: %v", err)
	}
	expectExit(t, wait(t, p), 0)
}

// Bytes for Wait may be sent before the launcher has read its list; they must not be taken for a part of it.
func TestContinueAhead(t *testing.T) {
	var l List
	for range 3 {
		l.Wait()
	}
	l.Chdir("/" + strings.Repeat("./", 2000))
	p := start(t, &Cmd{List: &l})
	for range 3 {
		if err := p.Continue(); err != nil {
			t.Fatal(err)
		}
	}
	expectExit(t, wait(t, p), 0)
	if err := p.Next(t.Context()); err != io.EOF {
		t.Errorf("Next: %v", err)
	}
}

func TestCloseControl(t *testing.T) {
	var l List
	l.Sync()
	line := l.Wait()
	p := start(t, &Cmd{List: &l})
	next(t, p)
	for range 2 {
		if err := p.CloseControl(); err != nil {
			t.Error(err)
		}
	}
	e, ok := errors.AsType[*StepError](p.Next(t.Context()))
	if !ok || e.Index != line.Index() || e.Result != 0 || e.Errno != 0 {
		t.Errorf("got %v", e)
	}
	expectExit(t, wait(t, p), 127)
	if err := p.Continue(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Continue: %v", err)
	}
}

func TestClose(t *testing.T) {
	var l List
	l.Sync()
	l.Wait()
	p := start(t, &Cmd{List: &l})
	next(t, p)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if state := wait(t, p); state.Success() {
		t.Error(state)
	}
	if err := p.Next(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Next: %v", err)
	}
}

func TestNextContext(t *testing.T) {
	var l List
	l.Wait()
	l.Sync()
	p := start(t, &Cmd{List: &l})
	cause := errors.New("cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(cause) })
	for range 2 { // the second time, it is done beforehand
		if err := p.Next(ctx); err != cause {
			t.Fatalf("Next: %v", err)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Millisecond)
	defer stop()
	if err := p.Next(ctx); err != context.DeadlineExceeded {
		t.Errorf("Next: %v", err)
	}
	if err := p.Continue(); err != nil {
		t.Fatal(err)
	}
	next(t, p)
}

func TestLifeLine(t *testing.T) {
	var l List
	l.Cloexec(StatusFD)
	l.Execveat(FirstFileFD)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	parent := start(t, &Cmd{List: &l, Args: []string{helper + "parent"}, Env: os.Environ(), Stdout: w, Files: []*os.File{openSelf(t)}})
	w.Close()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if !alive(pid) {
		t.Fatal("no launcher waits")
	}
	parent.Kill()
	wait(t, parent)
	eventually(t, "the launcher ends", func() bool { return !alive(pid) })
}

// alive says whether pid runs: init processes that do not reap are none of our business.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	testenv.Eventually(t, what, f)
}

func TestExec(t *testing.T) {
	long := strings.Repeat("x", 100_000)
	args := []string{helper + "args", "", "a b", "\xff", long}
	env := []string{"B=2", "A=1", "C="}
	want := fmt.Sprintf("%q %q", args[1:], env)
	tests := map[string]func(l *List){
		"execveat": func(l *List) { l.Execveat(FirstFileFD) },
		"execve":   func(l *List) { l.Execve("/proc/self/fd/6") },
		"alternative": func(l *List) {
			l.Execve("/proc/does/not/exist").Tolerate(unix.ENOENT)
			l.Execveat(FirstFileFD)
		},
	}
	for name, exec := range tests {
		t.Run(name, func(t *testing.T) {
			var l List
			l.Cloexec(StatusFD)
			exec(&l)
			if got := output(t, &Cmd{List: &l, Args: args, Env: env, Files: []*os.File{openSelf(t)}}); got != want {
				t.Errorf("got %.200s, want %.200s", got, want)
			}
		})
	}
	t.Run("no environment", func(t *testing.T) {
		t.Setenv("SECRET", "1")
		var l List
		l.Cloexec(StatusFD)
		l.Execveat(FirstFileFD)
		if got := output(t, &Cmd{List: &l, Args: args[:1], Files: []*os.File{openSelf(t)}}); got != "[] []" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("failure", func(t *testing.T) {
		var l List
		l.Execve("/proc/does/not/exist")
		if e := fails(t, &Cmd{List: &l}); e.Errno != unix.ENOENT {
			t.Error(e)
		}
	})
}

func TestDescriptorsOfChild(t *testing.T) {
	self := openSelf(t)
	for name, test := range map[string]struct {
		build func(l *List)
		want  string
	}{
		"all": {func(l *List) { l.Cloexec(StatusFD) }, "0 1 2 3 5 6 7 9 "}, // 8 is nil
		"standard streams only": {func(l *List) {
			for fd := ControlFD; fd < FirstFileFD+4; fd++ {
				l.Cloexec(fd).Tolerate(unix.EBADF)
			}
		}, "0 1 2 "},
		"one, moved": {func(l *List) {
			l.MoveStatus(20)
			l.Dup3(FirstFileFD+1, ControlFD, 0)
			l.Dup3(FirstFileFD+1, StatusFD, 0)
			for fd := ImageFD; fd < FirstFileFD+4; fd++ {
				l.Cloexec(fd).Tolerate(unix.EBADF)
			}
		}, "0 1 2 3 4 "},
	} {
		t.Run(name, func(t *testing.T) {
			var l List
			test.build(&l)
			l.Execveat(FirstFileFD)
			c := &Cmd{List: &l, Args: []string{helper + "fds"}, Files: []*os.File{self, self, nil, self}}
			if got := output(t, c); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
	t.Run("close_range", func(t *testing.T) {
		testenv.Found(t, "cloexec", unix.CloseRange(1<<20, 1<<20, unix.CLOSE_RANGE_CLOEXEC))
		var l List
		l.CloseRange(ControlFD, unix.CLOSE_RANGE_CLOEXEC)
		l.Execveat(FirstFileFD)
		if got := output(t, &Cmd{List: &l, Args: []string{helper + "fds"}, Files: []*os.File{self, self}}); got != "0 1 2 " {
			t.Errorf("got %s", got)
		}
	})
}

func TestMoveStatus(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var l List
	moved := l.MoveStatus(10)
	l.Dup3(FirstFileFD, StatusFD, 0)
	l.Write(StatusFD, "not the status")
	l.Sync()
	l.Send(moved)
	l.Close(FD(999))
	p := start(t, &Cmd{List: &l, Files: []*os.File{w}})
	w.Close()
	next(t, p)
	if v, err := p.NextValue(t.Context()); v != 10 || err != nil {
		t.Errorf("status is %d, %v", v, err)
	}
	if err := p.Next(t.Context()); !errors.Is(err, unix.EBADF) {
		t.Errorf("Next: %v", err)
	}
	if got, err := io.ReadAll(r); string(got) != "not the status" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	expectExit(t, wait(t, p), 127)
}

func readNS(t *testing.T, pid int, name string) string {
	t.Helper()
	link, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return link
}

func TestUnshareAndSetns(t *testing.T) {
	needUserNS(t)
	var l List
	l.Unshare(unix.CLONE_NEWUSER | unix.CLONE_NEWUTS)
	l.Sync()
	l.Wait()
	made := start(t, &Cmd{List: &l})
	next(t, made)
	user, uts := readNS(t, made.Pid, "user"), readNS(t, made.Pid, "uts")
	if user == readNS(t, os.Getpid(), "user") || uts == readNS(t, os.Getpid(), "uts") {
		t.Fatalf("in %s, %s as this process", user, uts)
	}

	var files []*os.File
	for _, name := range []string{"user", "uts"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", made.Pid, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		files = append(files, f)
	}
	l = List{}
	l.Setns(FirstFileFD, unix.CLONE_NEWUSER)
	l.Setns(FirstFileFD+1, unix.CLONE_NEWUTS)
	l.JoinSessionKeyring().Tolerate(unix.ENOSYS, unix.EPERM)
	l.Sync()
	l.Wait()
	joined := start(t, &Cmd{List: &l, Files: files})
	next(t, joined)
	if got := readNS(t, joined.Pid, "user"); got != user {
		t.Errorf("in %s, want %s", got, user)
	}
	if got := readNS(t, joined.Pid, "uts"); got != uts {
		t.Errorf("in %s, want %s", got, uts)
	}

	l = List{}
	bad := l.Setns(FirstFileFD, unix.CLONE_NEWUTS) // it is a user namespace
	if e := fails(t, &Cmd{List: &l, Files: files}); e.Index != bad.Index() || e.Errno != unix.EINVAL {
		t.Error(e)
	}
}

// A launcher maps its own ids, becomes root, and mounts.
func TestRootInside(t *testing.T) {
	needUserNS(t)
	at := FD(unix.AT_FDCWD)
	var l List
	l.Unshare(unix.CLONE_NEWUSER | unix.CLONE_NEWNS)
	deny := l.Openat(at, "/proc/self/setgroups", unix.O_WRONLY|unix.O_CLOEXEC)
	l.Write(deny, "deny")
	uids := l.Openat(at, "/proc/self/uid_map", unix.O_WRONLY|unix.O_CLOEXEC)
	l.Write(uids, fmt.Sprintf("0 %d 1", os.Getuid()))
	gids := l.Openat(at, "/proc/self/gid_map", unix.O_WRONLY|unix.O_CLOEXEC)
	l.Write(gids, fmt.Sprintf("0 %d 1", os.Getgid()))
	l.Setgroups().Tolerate(unix.EPERM)
	l.Setresgid(0)
	l.Setresuid(0)
	l.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
	l.Mount("none", "/proc/self", "tmpfs", unix.MS_NOSUID, "size=4k").Tolerate(unix.EPERM, unix.EACCES)
	l.Prlimit(unix.RLIMIT_NOFILE, 64, 64)
	l.Chroot("/proc")
	l.Chdir("/")
	l.Sync()
	l.Wait()
	p := start(t, &Cmd{List: &l})
	next(t, p)
	if root, err := os.Readlink(fmt.Sprintf("/proc/%d/root", p.Pid)); root != "/proc" {
		t.Errorf("root is %s, %v", root, err)
	}
	if limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", p.Pid)); !strings.Contains(string(limits), "Max open files            64 ") {
		t.Errorf("%v\n%s", err, limits)
	}
}

func TestRaiseCaps(t *testing.T) {
	needUserNS(t)
	last, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(last)))
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%016x", uint64(1)<<(n+1)-1)
	for _, upTo := range []int{n, 63} { // 63: more than there are
		var l List
		l.Cloexec(StatusFD)
		l.Unshare(unix.CLONE_NEWUSER)
		l.RaiseCaps(upTo)
		l.Execveat(FirstFileFD)
		got := output(t, &Cmd{List: &l, Args: []string{helper + "caps"}, Files: []*os.File{openSelf(t)}})
		if got != want {
			t.Errorf("capabilities %s, want %s", got, want)
		}
	}
}

// The child of a clone with CLONE_PARENT is this process's child, and pid 1 of a new pid namespace.
func TestClone(t *testing.T) {
	needUserNS(t)
	var l List
	l.Unshare(unix.CLONE_NEWUSER | unix.CLONE_NEWPID)
	child := l.Clone(unix.CLONE_PARENT | int(unix.SIGCHLD))
	l.Send(child).When(child)
	l.ExitGroup(0).When(child)
	l.Wait()
	l.ExitGroup(42)
	p := start(t, &Cmd{List: &l})
	pid, err := p.NextValue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	expectExit(t, wait(t, p), 0)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("NSpid:\t%d\t1\n", pid); !strings.Contains(string(status), want) {
		t.Errorf("not pid 1 inside:\n%s", status)
	}
	if err := p.Continue(); err != nil {
		t.Fatal(err)
	}
	c, err := os.FindProcess(int(pid))
	if err != nil {
		t.Fatal(err)
	}
	state, err := c.Wait()
	if err != nil {
		t.Fatal(err)
	}
	expectExit(t, state, 42)
}

// The child is followed, whether it or the original is the first to go on.
func TestFollow(t *testing.T) {
	needUserNS(t)
	var l List
	l.Unshare(unix.CLONE_NEWUSER | unix.CLONE_NEWPID)
	child := l.Clone(unix.CLONE_PARENT | int(unix.SIGCHLD))
	l.Send(child).When(child)
	l.ExitGroup(0).When(child)
	l.Wait()
	l.Sync()
	l.ExitGroup(42)
	followed, givenUp := 200, 300
	if testing.Short() { // as on emulated processors
		followed, givenUp = 20, 30
	}
	for range followed {
		p := start(t, &Cmd{List: &l})
		original := p.Pid
		if err := p.Follow(t.Context()); err != nil {
			t.Fatal(err)
		}
		if p.Pid == original || alive(original) {
			t.Fatalf("it was %d and is %d", original, p.Pid)
		}
		if err := p.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		expectExit(t, wait(t, p), 42)
	}

	// Given up at any moment, it leaves no child whose id nobody knows.
	gaveUp := errors.New("given up")
	for i := range givenUp {
		p := start(t, &Cmd{List: &l})
		original := p.Pid
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Duration(i)*1500*time.Microsecond/time.Duration(givenUp), gaveUp)
		err := p.Follow(ctx)
		cancel()
		if err != nil && !errors.Is(err, gaveUp) {
			t.Fatal(err)
		}
		if p.Pid == original || alive(original) {
			t.Fatalf("%d: it was %d and is %d", i, original, p.Pid)
		}
		p.Kill()
		wait(t, p)
	}
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("a child is left: %d, %v", pid, err)
	}

	var refused List
	refused.Unshare(1)
	p := start(t, &Cmd{List: &refused})
	var step *StepError
	if err := p.Follow(t.Context()); !errors.As(err, &step) || step.Name != "unshare" {
		t.Errorf("a step before it failed: %v", err)
	}
	expectExit(t, wait(t, p), 127)
}

// With SIGCHLD ignored, the launcher's children are reaped.
func TestIgnoreSignal(t *testing.T) {
	var l List
	l.IgnoreSignal(unix.SIGCHLD)
	child := l.Clone(int(unix.SIGCHLD))
	l.Send(child).When(child)
	l.Wait().When(child)
	p := start(t, &Cmd{List: &l})
	pid, err := p.NextValue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child is reaped", func() bool { return unix.Kill(int(pid), 0) == unix.ESRCH })
	if !alive(p.Pid) {
		t.Error("the parent is gone, too")
	}
}

func TestSendFiles(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	defer theirs.Close()
	names := []string{"uts", "ipc", "net"}
	var l List
	var fds []FD
	for i, name := range names {
		f := l.Openat(FD(unix.AT_FDCWD), "/proc/self/ns/"+name, unix.O_RDONLY|unix.O_CLOEXEC)
		fds = append(fds, FD(20+i))
		l.Dup3(f, fds[i], unix.O_CLOEXEC)
	}
	l.SendFiles(FirstFileFD, fds...)
	expectExit(t, run(t, &Cmd{List: &l, Files: []*os.File{theirs}}), 0)

	buf, oob := make([]byte, 16), make([]byte, unix.CmsgSpace(4*len(names)))
	n, oobn, _, _, err := unix.Recvmsg(pair[0], buf, oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil || n != 1 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	got, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(got) != len(names) {
		t.Fatalf("%d descriptors, %v", len(got), err)
	}
	for i, fd := range got {
		link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if want := readNS(t, os.Getpid(), names[i]); link != want {
			t.Errorf("descriptor %d is %s, want %s, %v", i, link, want, err)
		}
		unix.Close(fd)
	}
}

// startRaw starts a launcher with a list that Encode did not make.
func startRaw(t *testing.T, list []byte) *Process {
	t.Helper()
	needLauncher(t)
	prepared, err := prepareEncoded(new(List), list, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer prepared.Close()
	p, err := prepared.start(&Cmd{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// longList does not fit a pipe.
func longList() *List {
	l := new(List)
	for range 20 {
		l.Chdir("/" + strings.Repeat("./", 2000))
	}
	return l
}

// A launcher is started by somebody else, who gives it streams and arguments.
func TestPrepare(t *testing.T) {
	needLauncher(t)
	l := longList()
	l.Cloexec(StatusFD)
	l.Execveat(FirstFileFD)
	before := descriptors()
	p, err := Prepare(l, []*os.File{openSelf(t)})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	c := exec.Cmd{Path: p.Path, Args: []string{helper + "args", "x"}, Env: []string{"A=1"}, ExtraFiles: p.Files, Stdout: &out}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	started, err := p.Started(c.Process)
	p.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := started.Next(t.Context()); err != io.EOF { // the program has taken over
		t.Errorf("Next: %v", err)
	}
	if err := errors.Join(started.Close(), c.Wait()); err != nil {
		t.Error(err)
	}
	if want := `["x"] ["A=1"]`; out.String() != want {
		t.Errorf("got %s, want %s", out.String(), want)
	}
	if after := descriptors(); len(after) != len(before)+1 { // itself
		t.Errorf("descriptors before: %v, after: %v", before, after)
	}
}

func TestPrepareNeverStarted(t *testing.T) {
	needLauncher(t)
	before := descriptors()
	p, err := Prepare(longList(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p.Close()
	}
	for name, list := range map[string]*List{"none": nil, "of mistakes": new(List)} {
		if list != nil {
			list.Chdir("\x00")
		}
		if _, err := Prepare(list, nil); err == nil {
			t.Errorf("a list %s was prepared", name)
		}
	}
	if after := descriptors(); len(after) != len(before) {
		t.Errorf("descriptors before: %v, after: %v", before, after)
	}
}

// What was started is no launcher, or not for long.
func TestStartedTooShort(t *testing.T) {
	needLauncher(t)
	before := descriptors()
	p, err := Prepare(longList(), nil)
	if err != nil {
		t.Fatal(err)
	}
	// Where pages have 64 KiB, a pipe would hold all of it.
	if _, err := unix.FcntlInt(p.Files[0].Fd(), unix.F_SETPIPE_SZ, 64<<10); err != nil {
		t.Fatal(err)
	}
	c := exec.Cmd{Path: "/proc/self/exe", Args: []string{helper + "args"}, ExtraFiles: p.Files}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Started(c.Process); !errors.Is(err, unix.EPIPE) {
		t.Errorf("Started: %v", err)
	}
	p.Close()
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	if after := descriptors(); len(after) != len(before) {
		t.Errorf("descriptors before: %v, after: %v", before, after)
	}
}

func TestListDoesNotArrive(t *testing.T) {
	whole, err := new(List).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 1, wordSize - 1, wordSize, wordSize + 1, len(whole) - 1} {
		p := startRaw(t, whole[:n])
		p.CloseControl()
		e, ok := errors.AsType[*StepError](p.Next(t.Context()))
		if !ok || e.Index != -1 || e.Result != 0 {
			t.Errorf("%d bytes: %v", n, e)
		}
		expectExit(t, wait(t, p), 127)
	}
	for _, end := range []uintptr{0, 1, dataBase - 1, dataBase + maxList + 64<<10, ^uintptr(0)} {
		garbage := slices.Clone(whole)
		putWord(garbage, end)
		p := startRaw(t, garbage)
		p.CloseControl()
		if err := p.Next(t.Context()); err == nil {
			t.Errorf("end %#x: no error", end)
		}
		if state := wait(t, p); state.Success() {
			t.Errorf("end %#x: %v", end, state)
		}
	}
}

func TestGarbledStatus(t *testing.T) {
	record := "0123456789abcdef"[:recordSize]
	for garbage, want := range map[string]string{
		"x":        "cut short",
		record[1:]: "cut short",
		record:     "makes no sense",
	} {
		var l List
		l.Write(StatusFD, garbage)
		p := start(t, &Cmd{List: &l})
		if err := p.Next(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", garbage, err, want)
		}
		expectExit(t, wait(t, p), 0)
	}
}

func TestLargestList(t *testing.T) {
	const want = "the end of a long path"
	var l List
	dir := t.TempDir()
	n := maxList - 4000
	for l.Len() < 400 {
		l.Chdir("/")
	}
	list, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	// What is left goes to one argument, so that the list is as long as it can be.
	n -= len(list)
	f := l.Openat(FD(unix.AT_FDCWD), filepath.Join(dir, "f"), unix.O_CREAT|unix.O_WRONLY)
	l.Write(f, strings.Repeat("x", n)+want)
	for {
		more := l
		more.steps = slices.Clone(l.steps)
		more.Chdir("/" + strings.Repeat("/", 1))
		if _, err := more.Encode(); err != nil {
			break
		}
		l.Chdir("//")
	}
	list, err = l.Encode()
	if err != nil || len(list) < maxList-256 {
		t.Fatalf("%d bytes, %v", len(list), err)
	}
	expectExit(t, run(t, &Cmd{List: &l}), 0)
	got, err := os.ReadFile(filepath.Join(dir, "f"))
	if err != nil || len(got) != n+len(want) || !strings.HasSuffix(string(got), want) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestConcurrent(t *testing.T) {
	needLauncher(t)
	freshImage(t) // so that they race for it
	var l List
	l.Sync()
	l.Wait()
	l.ExitGroup(42)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			p, err := Start(&Cmd{List: &l})
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Close()
			if err := errors.Join(p.Next(t.Context()), p.Continue()); err != nil {
				t.Error(err)
			}
			state, err := p.Wait()
			if err != nil {
				t.Error(err)
				return
			}
			expectExit(t, state, 42)
		})
	}
	wg.Wait()
}

func TestStartFails(t *testing.T) {
	needLauncher(t)
	before := descriptors()
	for range 3 {
		if _, err := Start(&Cmd{List: new(List), Dir: "/proc/does/not/exist"}); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Start: %v", err)
		}
	}
	if after := descriptors(); len(after) != len(before) {
		t.Errorf("descriptors before: %v, after: %v", before, after)
	}
}

func TestDirAndStreams(t *testing.T) {
	var l List
	f := l.Openat(FD(unix.AT_FDCWD), "file", unix.O_CREAT|unix.O_WRONLY)
	l.Write(f, "x")
	l.Sync()
	l.Wait()
	dir := t.TempDir()
	p := start(t, &Cmd{List: &l, Dir: dir})
	next(t, p)
	if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
		t.Error(err)
	}
	for _, fd := range []int{0, 1} {
		if link, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", p.Pid, fd)); link != os.DevNull {
			t.Errorf("stream %d is %s, %v", fd, link, err)
		}
	}
}

// vm.memfd_noexec is a setting of the pid namespace.
func TestMemfdNoexec(t *testing.T) {
	needRoot(t)
	needMemfdNoexec(t)
	var l List
	l.Cloexec(StatusFD)
	l.Execveat(FirstFileFD)
	got := output(t, &Cmd{
		List: &l, Args: []string{helper + "memfd_noexec"}, Env: os.Environ(), Files: []*os.File{openSelf(t)},
		Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID},
	})
	if want := "exit status 0, kept false, memfd refused"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// CVE-2019-5736 again: who sees a launcher that waits opens what it executes, and writes to that once it has ended. The next
// launch must not be of that.
func TestWrittenImageIsNotExecutedAgain(t *testing.T) {
	if got := noexec(t, "overwrite"); got != "written 3 of 3" {
		t.Errorf("%s", got)
	}
}

var _ = testenv.Long(TestForksOfOthersCannotKeepTheImageBusy)

// golang/go#22315: an executable that was just written is busy as long as a child, forked meanwhile, has not executed
// anything.
func TestForksOfOthersCannotKeepTheImageBusy(t *testing.T) {
	copies := testenv.Times(100, 30)
	if testing.Short() { // as on emulated processors
		copies = 3
	}
	if got, want := noexec(t, "busy", strconv.Itoa(copies)), fmt.Sprintf("%d launches, %d copies, 0 failed", 10*copies, copies); got != want {
		t.Errorf("%s", got)
	}
}

// noexec runs a helper with args where memfds may not be executed.
func noexec(t *testing.T, name string, args ...string) string {
	t.Helper()
	needRoot(t)
	needMemfdNoexec(t)
	var l List
	l.Cloexec(StatusFD)
	l.Execveat(FirstFileFD)
	return output(t, &Cmd{
		List: &l, Args: append([]string{helper + name}, args...), Env: os.Environ(), Files: []*os.File{openSelf(t)}, Stderr: os.Stderr,
		Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID},
	})
}

func memfdNoexec() error { return os.WriteFile("/proc/sys/vm/memfd_noexec", []byte("2"), 0) }

// overwrite is what an attacker does, three ways.
func overwrite() error {
	if err := memfdNoexec(); err != nil {
		return err
	}
	const n = 3
	for i := range n {
		var l List
		l.Sync()
		l.Wait()
		p, err := Start(&Cmd{List: &l})
		if err != nil {
			return fmt.Errorf("launch after %d were written to: %w", i, err)
		}
		if err := p.Next(context.Background()); err != nil {
			return err
		}
		// As by /proc/PID/exe, but that /proc is of another pid namespace.
		fd, err := unix.PidfdOpen(p.Pid, 0)
		if err != nil {
			return err
		}
		image, err := unix.PidfdGetfd(fd, int(ImageFD), 0)
		unix.Close(fd)
		if err != nil {
			return err
		}
		path := fmt.Sprintf("/proc/thread-self/fd/%d", image)
		switch i {
		case 0: // it ends by itself
			err = p.Continue()
		case 1: // it is killed
			err = p.Kill()
		case 2: // it is given up
			err = p.Close()
		}
		if err != nil {
			return err
		}
		if _, err := p.Wait(); err != nil {
			return err
		}
		p.Close()
		w, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			return fmt.Errorf("it cannot be written to: %w", err)
		}
		if _, err := w.WriteString("#!/bin/sh\necho owned >&2\n"); err != nil {
			return err
		}
		w.Close()
		unix.Close(image)
	}
	p, err := Start(&Cmd{List: new(List)})
	if err != nil {
		return fmt.Errorf("launch after %d were written to: %w", n, err)
	}
	defer p.Close()
	state, err := p.Wait()
	if err == nil && state.Success() {
		fmt.Printf("written %d of %d", n, n)
	}
	return err
}

// busy launches and copies while others fork; its argument is the number of copies.
func busy() error {
	copies, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	if err := memfdNoexec(); err != nil {
		return err
	}
	over := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					exec.Command("/bin/true").Run()
				}
			}
		})
	}
	program, err := os.Open("/bin/true")
	if err != nil {
		return err
	}
	launches := 10 * copies
	failed := 0
	for range launches {
		p, err := Start(&Cmd{List: new(List)})
		if err != nil {
			failed++
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		if s, err := p.Wait(); err != nil || !s.Success() {
			failed++
			fmt.Fprintln(os.Stderr, s, err)
		}
		p.Close()
	}
	for range copies {
		f, err := SealedCopy(program, "copy", 0o111)
		if err != nil {
			return err
		}
		var l List
		l.Cloexec(StatusFD)
		l.Execveat(FirstFileFD)
		p, err := Start(&Cmd{List: &l, Files: []*os.File{f}, Args: []string{"/bin/true"}})
		if err != nil {
			return err
		}
		if err := p.Next(context.Background()); err != io.EOF {
			failed++
			fmt.Fprintln(os.Stderr, err)
		}
		p.Wait()
		p.Close()
		f.Close()
	}
	close(over)
	wg.Wait()
	fmt.Printf("%d launches, %d copies, %d failed", launches, copies, failed)
	return nil
}

// BenchmarkLauncher is a launcher alone, from start to reaped.
func BenchmarkLauncher(b *testing.B) {
	var l List
	var times []time.Duration
	for b.Loop() {
		began := time.Now()
		p, err := Start(&Cmd{List: &l, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			b.Fatal(err)
		}
		p.Close()
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2]), "median-ns")
}

// BenchmarkUserNS is a launcher that makes a user namespace and waits once.
func BenchmarkUserNS(b *testing.B) {
	needUserNS(b)
	var l List
	l.Unshare(unix.CLONE_NEWUSER)
	l.Sync()
	l.Wait()
	for b.Loop() {
		p, err := Start(&Cmd{List: &l, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr})
		if err != nil {
			b.Fatal(err)
		}
		if err := errors.Join(p.Next(b.Context()), p.Continue()); err != nil {
			b.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			b.Fatal(err)
		}
		p.Close()
	}
}

// BenchmarkEncode makes and encodes a list of usual length.
func BenchmarkEncode(b *testing.B) {
	for b.Loop() {
		var l List
		for i := range 10 {
			l.Setns(FirstFileFD+FD(i), unix.CLONE_NEWNET)
			l.Cloexec(FirstFileFD + FD(i))
			l.Chdir("/")
		}
		if _, err := l.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}
