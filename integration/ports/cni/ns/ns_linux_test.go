package ns_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/integration/ports/cni/ns"
	"github.com/gonso/gonso/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m, gonso.Init) }

// temp makes a net namespace for a test.
func temp(t *testing.T) ns.NetNS {
	t.Helper()
	testenv.Need(t, testenv.Root)
	n, err := ns.TempNetNS()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	return n
}

// link is the namespace as its file in /proc is a link to.
func link(t testing.TB, n ns.NetNS) string {
	t.Helper()
	l, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(n.Fd())))
	if err != nil {
		t.Error(err)
	}
	return l
}

func TestDoRunsInsideAndTellsWhereItWasCalled(t *testing.T) {
	target, other := temp(t), temp(t)
	testenv.Leaks(t)
	if link(t, target) == link(t, other) {
		t.Fatalf("both are %s", link(t, target))
	}
	err := target.Do(func(host ns.NetNS) error {
		if got := link(t, host); got != testenv.Home("net") {
			t.Errorf("called in %s, not %s", got, testenv.Home("net"))
		}
		if got := testenv.Self(t, "net"); got != link(t, target) {
			t.Errorf("in %s, not %s", got, link(t, target))
		}
		return other.Do(func(host ns.NetNS) error {
			if got := link(t, host); got != link(t, target) {
				t.Errorf("called in %s, not %s", got, link(t, target))
			}
			// As plugins do that move an interface back.
			return host.Do(func(host ns.NetNS) error {
				if got := testenv.Self(t, "net"); got != link(t, target) {
					t.Errorf("in %s, not %s", got, link(t, target))
				}
				if got := link(t, host); got != link(t, other) {
					t.Errorf("called in %s, not %s", got, link(t, other))
				}
				return nil
			})
		})
	})
	if err != nil {
		t.Error(err)
	}
}

func TestDoManyAtOnce(t *testing.T) {
	target := temp(t)
	testenv.Leaks(t)
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if err := target.Do(func(host ns.NetNS) error {
				if got := link(t, host); got != testenv.Home("net") {
					t.Errorf("called in %s, not %s", got, testenv.Home("net"))
				}
				if got := testenv.Self(t, "net"); got != link(t, target) {
					t.Errorf("in %s, not %s", got, link(t, target))
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	nowhere(t, link(t, target))
}

// nowhere fails the test if a thread of this process is in a net namespace.
func nowhere(t *testing.T, net string) {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		tid, _ := strconv.Atoi(task.Name())
		if l, err := testenv.NSLink(os.Getpid(), tid, "net"); err == nil && l == net {
			t.Errorf("thread %d is in %s", tid, l)
		}
	}
}

func TestErrorsOfWorkComeBackAsTheyAre(t *testing.T) {
	around, target := temp(t), temp(t)
	testenv.Leaks(t)
	potato := errors.New("potato")
	if err := around.Do(func(ns.NetNS) error {
		if err := target.Do(func(ns.NetNS) error { return potato }); err != potato {
			t.Errorf("%v", err)
		}
		if got := testenv.Self(t, "net"); got != link(t, around) {
			t.Errorf("afterwards in %s, not %s", got, link(t, around))
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	nowhere(t, link(t, target))
}

func TestSetMovesTheCallingThread(t *testing.T) {
	target := temp(t)
	testenv.OnThread(func() {
		if err := target.Set(); err != nil {
			t.Error(err)
			return
		}
		current, err := ns.GetCurrentNS()
		if err != nil {
			t.Error(err)
			return
		}
		defer current.Close()
		if link(t, current) != link(t, target) || testenv.Self(t, "net") != link(t, target) {
			t.Errorf("in %s, not %s", link(t, current), link(t, target))
		}
	})
}

// In the original this is the path of a thread, which has left the namespace by then.
func TestPathsOfNewNamespacesLast(t *testing.T) {
	target := temp(t)
	if err := ns.IsNSorErr(target.Path()); err != nil {
		t.Error(err)
	}
	if err := ns.WithNetNSPath(target.Path(), func(ns.NetNS) error {
		if got := testenv.Self(t, "net"); got != link(t, target) {
			t.Errorf("in %s, not %s", got, link(t, target))
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	out, err := exec.Command("readlink", target.Path()).Output()
	if err != nil || string(out) != link(t, target)+"\n" {
		t.Errorf("another process: %s, %v", out, err)
	}
}

func TestCloseIsTheEnd(t *testing.T) {
	testenv.Leaks(t)
	current, err := ns.GetCurrentNS()
	if err != nil {
		t.Fatal(err)
	}
	if err := current.Close(); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"Close": current.Close(),
		"Set":   current.Set(),
		"Do":    current.Do(func(ns.NetNS) error { t.Error("it has run"); return nil }),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestWhatIsNoNamespace(t *testing.T) {
	testenv.Leaks(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(t.TempDir(), "fifo") // to open it would block
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, fifo, "/proc/self/status"} {
		_, err := ns.GetNS(path)
		for _, err := range []error{err, ns.IsNSorErr(path)} {
			if _, ok := err.(ns.NSPathNotNSErr); !ok {
				t.Errorf("%s: %T %v", path, err, err)
			}
		}
	}
	missing := filepath.Join(t.TempDir(), "missing")
	_, err := ns.GetNS(missing)
	for _, err := range []error{err, ns.IsNSorErr(missing)} {
		if _, ok := err.(ns.NSPathNotExistErr); !ok {
			t.Errorf("%T %v", err, err)
		}
	}
	// A namespace it is, but work would enter what is not meant.
	uts := "/proc/" + strconv.Itoa(os.Getpid()) + "/ns/uts"
	if err := ns.IsNSorErr(uts); err != nil {
		t.Error(err)
	}
	if n, err := ns.GetNS(uts); err == nil {
		n.Close()
		t.Error("a uts namespace is taken for a net one")
	}
}

func TestCallersOnLockedThreadsStayThere(t *testing.T) {
	target := temp(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := unix.Gettid()
	if err := target.Do(func(ns.NetNS) error {
		if unix.Gettid() == before {
			t.Error("on the caller's thread")
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if unix.Gettid() != before || testenv.Self(t, "net") != testenv.Home("net") {
		t.Errorf("on thread %d in %s", unix.Gettid(), testenv.Self(t, "net"))
	}
}
