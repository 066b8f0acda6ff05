package testenv

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// links are the files of /proc/PID/task/TID/ns.
var links = []string{"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"}

// home has the namespaces of this process when its packages were initialized.
var home = func() map[string]string {
	m := make(map[string]string)
	for _, l := range links {
		if at, err := NSLink(os.Getpid(), unix.Gettid(), l); err == nil {
			m[l] = at
		}
	}
	return m
}()

// Home is the namespace that this process was in at the start, "net:[4026531840]".
func Home(typ string) string { return home[typ] }

// NSLink reads a namespace link of a thread from outside, "net:[4026531840]".
// A tid of 0 means the process.
func NSLink(pid, tid int, typ string) (string, error) {
	path := "/proc/" + strconv.Itoa(pid)
	if tid != 0 {
		path += "/task/" + strconv.Itoa(tid)
	}
	text, err := os.Readlink(path + "/ns/" + typ)
	if err == nil && text == "" { // some releases of Linux 5.10 do not refuse a link, and give an empty one
		err = os.ErrPermission
	}
	return text, err
}

// Self reads a namespace link of the calling thread.
func Self(t testing.TB, typ string) string {
	t.Helper()
	at, err := NSLink(os.Getpid(), unix.Gettid(), typ)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// OnThread runs f on a thread, and waits for f. f may do anything to the thread: it ends with f. It
// is never the main thread, which does not end.
func OnThread(f func()) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			OnThread(f) // on another thread: this goroutine keeps the main thread busy
			runtime.UnlockOSThread()
			close(done)
			return
		}
		defer close(done)
		f()
	}()
	<-done
}

var userNS = sync.OnceValue(func() string {
	c := exec.Command("true")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	if err := c.Run(); err != nil {
		return fmt.Sprintf("making one: %v", err)
	}
	return ""
})

// Main is the body of TestMain. If the environment asks for a Program, Main runs it. Otherwise it
// calls init (gonso.Init), runs the tests with their own TMPDIR, and fails the run if they leave
// something behind.
func Main(m *testing.M, init func()) {
	Begin()
	if init != nil {
		init()
	}
	tmp, err := os.MkdirTemp("", "gonso-test-")
	if err == nil {
		err = errors.Join(os.Chmod(tmp, 0o755), os.Setenv("TMPDIR", tmp))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	before := take()
	code := m.Run()
	left := before.left(Limit)
	if entries, err := os.ReadDir(tmp); err != nil {
		left = append(left, err.Error())
	} else {
		for _, e := range entries {
			left = append(left, "file in TMPDIR: "+e.Name())
		}
	}
	// Not RemoveAll: there may be a mount below, with somebody's files.
	os.Remove(tmp)
	for _, l := range left {
		fmt.Fprintln(os.Stderr, "LEAKED "+l)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Leaks fails the test if it leaves something behind that was not there when Leaks was called. It
// is not for tests that run in parallel with others.
func Leaks(t testing.TB) {
	t.Helper()
	before := take()
	t.Cleanup(func() {
		for _, l := range before.left(Limit) {
			t.Error("LEAKED " + l)
		}
	})
}
