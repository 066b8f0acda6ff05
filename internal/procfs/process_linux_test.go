package procfs

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

func TestIDOfPIDFD(t *testing.T) {
	for text, want := range map[string]struct {
		pid int
		err error
		say string
	}{
		"pos:\t0\nflags:\t02000002\nmnt_id:\t15\nPid:\t77\nNSpid:\t77\t1\n": {77, nil, ""},
		"Pid:\t-1\nNSpid:\t-1\n": {0, unix.ESRCH, ""},
		"Pid:\t0\nNSpid:\t0\n":   {0, unix.ESRCH, "no id"},
		"pos:\t0\nNSpid:\t7\n":   {0, os.ErrInvalid, "not a pidfd"},
		"":                       {0, os.ErrInvalid, "not a pidfd"},
		"Pid:\tx\n":              {0, strconv.ErrSyntax, ""},
	} {
		pid, err := parseID(text)
		if pid != want.pid || !errors.Is(err, want.err) || err != nil && !strings.Contains(err.Error(), want.say) {
			t.Errorf("%q: %d, %v", text, pid, err)
		}
	}
}

// A process may also die in between: what was opened meanwhile counts for nothing.
func TestProcessThatDiesWhileItIsOpened(t *testing.T) {
	calls := 0
	d, err := openWhile(func() (int, error) {
		if calls++; calls == 1 {
			return os.Getpid(), nil
		}
		return 0, unix.ESRCH
	})
	if d != nil || !errors.Is(err, unix.ESRCH) || calls != 2 {
		t.Errorf("%v, %v, %d calls", d, err, calls)
	}
}

func TestNSPIDs(t *testing.T) {
	for status, want := range map[string]string{
		"Name:\tx\nNSpid:\t7\nNSpgid:\t7\n":   "[7] <nil>",
		"Name:\tx\nNSpid:\t77\t7\t1\nx:\t1\n": "[77 7 1] <nil>",
		"Name:\tNSpid:\t1\n":                  "[] no NSpid in /proc/self/status",
		"Name:\tx\nNSpid:\n":                  "[] no NSpid in /proc/self/status",
		"":                                    "[] no NSpid in /proc/self/status",
	} {
		ids, err := nsPIDs(status)
		if got := fmt.Sprint(ids, err); got != want {
			t.Errorf("%q: %s, want %s", status, got, want)
		}
	}
	if _, err := nsPIDs("x\nNSpid:\tx\n"); !errors.Is(err, strconv.ErrSyntax) {
		t.Error(err)
	}
}

// What is below /proc is found without following what leads out of it, or is not procfs.
func TestOpenStaysInside(t *testing.T) {
	for _, name := range []string{"self/root/etc/passwd", "self/cwd", "self/fd/0", "self/exe", "../etc/passwd", "/etc/passwd", "self/ns/net"} {
		if fd, err := Open(name, unix.O_RDONLY); err == nil {
			t.Errorf("%s was opened", name)
			unix.Close(fd)
		}
	}
	if _, err := ReadFile("self/status", 10); err == nil || !strings.Contains(err.Error(), "more than 10 bytes") {
		t.Error(err)
	}
	if text, err := ReadFile("sys/kernel/ostype", 100); err != nil || text != "Linux\n" {
		t.Errorf("%q, %v", text, err)
	}
}

// A program closes it, and its number becomes another file's.
func TestHeldSurvivesBeingClosed(t *testing.T) {
	old := int(held.fd.Load())
	root, err := unix.Open("/", unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(root)
	if err := unix.Dup3(root, old, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(old)
	d, err := Process(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	var a, b unix.Stat_t
	if err := errors.Join(unix.Fstat(root, &a), unix.Fstat(old, &b)); err != nil || a.Ino != b.Ino || a.Dev != b.Dev || int(held.fd.Load()) == old {
		t.Errorf("%d is %d, and now it is %d: %v", old, b.Ino, held.fd.Load(), err)
	}
}

// A thread with a root of its own is not at home: a path means what is below that.
func TestAway(t *testing.T) {
	testenv.Need(t, testenv.Root) // for chroot
	dir := t.TempDir()
	done := make(chan bool)
	go func() {
		runtime.LockOSThread() // and not unlocked
		defer close(done)
		if unix.Gettid() == os.Getpid() {
			return
		}
		if Away() {
			t.Error("away before anything was done")
		}
		if err := errors.Join(unix.Unshare(unix.CLONE_FS), unix.Chroot(dir)); err != nil {
			t.Error(err)
			return
		}
		if !Away() {
			t.Error("not away in a root of its own")
		}
		if err := Executable(); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		AtHome(func() {
			if err := errors.Join(Executable(), Visible()); err != nil || Away() {
				t.Error(err)
			}
		})
	}()
	<-done
}
