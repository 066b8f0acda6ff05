package gonso

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

func TestFromFiles(t *testing.T) {
	testenv.Leaks(t)
	open := func(path string, flags int) *os.File {
		t.Helper()
		f, err := os.OpenFile(path, flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	net, uts := open("/proc/self/ns/net", os.O_RDONLY), open("/proc/self/ns/uts", os.O_RDONLY)
	for range 2 { // the first Set's end does not close the files
		s, err := FromFiles(net, uts)
		if err != nil {
			t.Fatal(err)
		}
		if s.Types() != Net|UTS || len(foreign(t, s)) > 0 {
			t.Errorf("%v", s)
		}
		s.Close()
	}
	s := owned(t)(FromFiles(net))
	f, err := s.File(Net)
	if err != nil {
		t.Fatal(err)
	}
	if s := owned(t)(FromFiles(f)); s.Types() != Net {
		t.Errorf("of Set.File: %v", s)
	}
	f.Close()

	_, err = FromFiles()
	wantError(t, "none", err, errNoFiles)
	_, err = FromFiles(net, nil)
	wantError(t, "nil", err, os.ErrInvalid, "file 1")
	_, err = FromFiles(uts, f)
	wantError(t, "closed", err, os.ErrClosed, f.Name())
	_, err = FromFiles(net, uts, open("/proc/thread-self/ns/net", os.O_RDONLY))
	wantError(t, "two of a type", err, errTwoOfAType, "/proc/thread-self/ns/net")
	_, err = FromFiles(open("/proc/self/ns/net", unix.O_PATH))
	wantError(t, "O_PATH", err, unix.EBADF, "O_PATH")
	for _, path := range []string{"/proc/self/status", "/dev/null", "/proc/self/ns"} {
		_, err = FromFiles(net, open(path, os.O_RDONLY))
		wantError(t, path, err, ErrNotNamespace, path)
	}
}

// A Set from another's files is somebody else's, like one from paths.
func TestFromFilesIsOpened(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	s := unshare(t, User|Net)
	f, err := s.File(User)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o := owned(t)(FromFiles(f))
	if o.c.opened != User || s.c.opened != 0 {
		t.Errorf("opened: %v of the Set from files, %v of the one that made them", o.c.opened, s.c.opened)
	}
	if p := goIn(t, o); p.NS["user"] != idOf(t, s, User) {
		t.Errorf("in %s", p.NS["user"])
	}
}

// pidfd opens one that the test closes.
func pidfd(t testing.TB, pid, flags int) *os.File {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, flags)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "pidfd of "+strconv.Itoa(pid))
	t.Cleanup(func() { f.Close() })
	return f
}

func TestFromPIDFD(t *testing.T) {
	testenv.Leaks(t)
	own := pidfd(t, os.Getpid(), 0)
	for range 2 { // it stays open
		s, err := FromPIDFD(own)
		if err != nil {
			t.Fatal(err)
		}
		if f := foreign(t, s); len(f) > 0 || !s.Has(Net|User|Mount) {
			t.Errorf("this process's: %v, foreign %v", s, f)
		}
		s.Close()
	}
	if s := owned(t)(FromPIDFD(own, Net, UTS)); s.Types() != Net|UTS {
		t.Errorf("types %v", s.Types())
	}
	_, err := FromPIDFD(own, 0)
	wantError(t, "zero", err, os.ErrInvalid, "zero Type")
	_, err = FromPIDFD(nil)
	wantError(t, "nil", err, os.ErrInvalid, "nil")
	for _, path := range []string{"/dev/null", "/proc/self"} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = FromPIDFD(f)
		wantError(t, path, err, os.ErrInvalid, "not a pidfd", path)
		f.Close()
		_, err = FromPIDFD(f)
		wantError(t, "closed", err, os.ErrClosed, path)
	}

	testenv.Need(t, testenv.Tool("sleep"), testenv.UserNS)
	pid := sleeper(t, User|Net)
	s := owned(t)(FromPIDFD(pidfd(t, pid, 0), Net, User, UTS))
	for _, typ := range []Type{Net, User, UTS} {
		want, err := testenv.NSLink(pid, 0, typ.String())
		if got := idOf(t, s, typ); err != nil || got != want {
			t.Errorf("%v: %s, want %s, %v", typ, got, want, err)
		}
	}
	if s.c.opened != User|Net {
		t.Errorf("opened %v", s.c.opened)
	}
}

func TestFromPIDFDOfTheDead(t *testing.T) {
	testenv.Need(t, testenv.Tool("sleep"))
	testenv.Leaks(t)
	c := exec.Command("sleep", "600")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	f := pidfd(t, c.Process.Pid, 0)
	c.Process.Kill()
	testenv.Eventually(t, "the child is a zombie", func() bool { return strings.HasPrefix(statusOf(t, c.Process.Pid)["State"], "Z") })
	_, err := FromPIDFD(f)
	wantError(t, "zombie", err, unix.ESRCH)
	c.Wait()
	for _, types := range [][]Type{nil, {Net}} {
		_, err = FromPIDFD(f, types...)
		wantError(t, "reaped", err, unix.ESRCH, f.Name())
	}
}

func TestFromPIDFDOfThread(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Linux(6, 9))
	s := unshare(t, Net|UTS)
	h := hold(t, s, true, nil)
	thread, err := FromPIDFD(pidfd(t, h.tid, unix.PIDFD_THREAD), Net, UTS, IPC)
	if err := h.end(); err != nil {
		t.Error(err)
	}
	thread = owned(t)(thread, err)
	if f := foreign(t, thread); len(f) != 2 || f["net"] != idOf(t, s, Net) || f["uts"] != idOf(t, s, UTS) {
		t.Errorf("foreign %v, want %v", f, s)
	}
}

var _ = testenv.AlsoNested(TestPIDFDCannotMeanALaterProcess)

// A pidfd whose process is gone does not come to mean the next one with its id.
// The test runs in a pid namespace of its own, where ids can be chosen.
func TestPIDFDCannotMeanALaterProcess(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UtilLinux("unshare"), testenv.Tool("sleep"))
	if !testenv.IsAgain(t) {
		c := testenv.Again(t, "unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
		c.ExtraFiles = []*os.File{pidfd(t, os.Getpid(), 0)}
		testenv.RunAgain(t, c)
		return
	}
	outside := os.NewFile(3, "pidfd of a process outside")
	_, err := FromPIDFD(outside, Net)
	wantError(t, "a process that has no id here", err, unix.ESRCH, "no id in the pid namespace of /proc")
	outside.Close()

	sleep := func() *exec.Cmd {
		c := exec.Command("sleep", "600")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	end := func(c *exec.Cmd) {
		c.Process.Kill()
		c.Wait()
	}
	first := sleep()
	pid := first.Process.Pid
	f := pidfd(t, pid, 0)
	end(first)
	// Threads take ids too, so it may take more than one try.
	for range 1000 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0); err != nil {
			t.Fatal(err)
		}
		later := sleep()
		if later.Process.Pid != pid {
			end(later)
			continue
		}
		defer end(later)
		owned(t)(FromPID(pid, Net))
		_, err := FromPIDFD(f, Net)
		wantError(t, "its id is another's now", err, unix.ESRCH, f.Name())
		return
	}
	t.Errorf("no process got the id %d again", pid)
}

// As /run/netns: no file has the name of a type.
func TestFromDirOfOtherNames(t *testing.T) {
	testenv.Leaks(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.Symlink("/proc/self/ns/net", at("blue")), os.WriteFile(at("README"), []byte("x"), 0o600),
		unix.Mkfifo(at("fifo"), 0o600), os.Mkdir(at("sub"), 0o700), os.Symlink("nowhere", at("dangling"))); err != nil {
		t.Fatal(err)
	}
	for _, types := range [][]Type{nil, {Net}} {
		if s := owned(t)(FromDir(dir, types...)); s.Types() != Net || idOf(t, s, Net) != testenv.Home("net") {
			t.Errorf("%v: %v", types, s)
		}
	}
	_, err := FromDir(dir, Net, IPC)
	wantError(t, "asked for what is not there", err, fs.ErrNotExist, "ipc", dir, "of this type")

	if err := errors.Join(os.Symlink("/proc/self/ns/uts", at("host")), os.Symlink("/proc/self/ns/net", at("same"))); err != nil {
		t.Fatal(err)
	}
	if s := owned(t)(FromDir(dir)); s.Types() != Net|UTS {
		t.Errorf("of two types, one twice: %v", s)
	}
	if s := owned(t)(FromDir(dir, UTS)); s.Types() != UTS {
		t.Errorf("one of two: %v", s)
	}

	testenv.Need(t, testenv.UserNS)
	if err := os.Symlink(fmt.Sprintf("/proc/%d/ns/net", sleeper(t, User|Net)), at("red")); err != nil {
		t.Fatal(err)
	}
	_, err = FromDir(dir)
	if want := fmt.Sprintf("gonso: open net %s: %[1]s/blue and %[1]s/red are both of this type, and a Set has one of each (open the one that is meant, as with gonso.Open(%q))", dir, at("blue")); err == nil || err.Error() != want {
		t.Errorf("two of a type: %v, want %s", err, want)
	}
	if s := owned(t)(FromDir(dir, UTS)); s.Types() != UTS {
		t.Errorf("two of a type that is not asked for: %v", s)
	}

	// One that has a type's name, and names count again.
	if err := os.Symlink("/proc/self/ns/ipc", at("ipc")); err != nil {
		t.Fatal(err)
	}
	if s := owned(t)(FromDir(dir)); s.Types() != IPC {
		t.Errorf("with ipc: %v", s)
	}
}

func TestFromDirOfIPNetns(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.IPRoute2)
	testenv.Leaks(t)
	ip, err := testenv.LookPath("ip")
	if err != nil {
		t.Fatal(err)
	}
	var blue, asked *Set
	var twoErr error
	private := unshare(t, Mount)
	if err := private.Run(func() (err error) {
		// What ip puts below /run stays in here.
		if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
			return err
		}
		if out, err := exec.Command(ip, "netns", "add", "blue").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if blue, err = FromDir("/run/netns"); err != nil {
			return err
		}
		if asked, err = FromDir("/run/netns", Net); err != nil {
			return err
		}
		if out, err := exec.Command(ip, "netns", "add", "red").CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		_, twoErr = FromDir("/run/netns")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	defer blue.Close()
	defer asked.Close()
	if blue.Types() != Net || idOf(t, blue, Net) != idOf(t, asked, Net) || len(foreign(t, blue)) != 1 {
		t.Errorf("%v, %v", blue, asked)
	}
	if twoErr == nil || !strings.Contains(twoErr.Error(), "/run/netns/blue and /run/netns/red") || !strings.Contains(twoErr.Error(), "gonso.Open") {
		t.Errorf("two: %v", twoErr)
	}
	h := hold(t, blue, true, nil)
	wantLinks(t, os.Getpid(), h.tid, foreign(t, blue))
	if err := h.end(); err != nil {
		t.Error(err)
	}
}
