package testutils_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/integration/ports/cni/ns"
	"github.com/gonso/gonso/integration/ports/cni/testutils"
	"github.com/gonso/gonso/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m, gonso.Init) }

// inMountNamespace runs a test again in a mnt namespace of its own: what NewNS makes is shared with
// whoever has the same /run. Plain users are root in a user namespace there. The test goes on where
// it is true.
func inMountNamespace(t *testing.T, who testenv.Req, flags ...string) bool {
	if testenv.IsAgain(t) {
		return true
	}
	testenv.Need(t, who, testenv.UtilLinux("unshare"))
	c := testenv.Again(t, append([]string{"unshare", "--mount"}, flags...)...)
	c.Env = append(c.Env, "XDG_RUNTIME_DIR="+t.TempDir())
	testenv.RunAgain(t, c)
	return false
}

func TestNewNamespacesLastUntilTheyAreUnmounted(t *testing.T) {
	if inMountNamespace(t, testenv.Root) {
		unmounted(t, "/run", "/var/run/netns/")
	}
}

func TestNewNamespacesOfRootInAUserNamespace(t *testing.T) {
	if inMountNamespace(t, testenv.Plain, "--map-root-user") {
		unmounted(t, os.Getenv("XDG_RUNTIME_DIR"), os.Getenv("XDG_RUNTIME_DIR")+"/netns/")
	}
}

// unmounted tries what is below dir, in a tmpfs on top.
func unmounted(t *testing.T, top, dir string) {
	if err := unix.Mount("tmpfs", top, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(top, unix.MNT_DETACH); err != nil { // and what is mounted below
			t.Error(err)
		}
	}()
	var at []string
	for range 2 { // the second finds the directory shared already
		n, err := testutils.NewNS()
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, n.Path())
		if !strings.HasPrefix(n.Path(), dir) {
			t.Errorf("%s is not below %s", n.Path(), dir)
		}
		if err := ns.IsNSorErr(n.Path()); err != nil {
			t.Error(err)
		}
		if err := n.Do(func(host ns.NetNS) error {
			if testenv.Self(t, "net") == testenv.Home("net") {
				t.Error("inside is the host's")
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
		n.Close()
		defer func() {
			if err := testutils.UnmountNS(n); err != nil {
				t.Error(err)
			}
			if _, err := os.Lstat(n.Path()); err == nil {
				t.Errorf("%s is left", n.Path())
			}
		}()
	}
	if at[0] == at[1] {
		t.Errorf("both are %s", at[0])
	}
	// The path is enough for others, and for later.
	if err := ns.WithNetNSPath(at[0], func(ns.NetNS) error { return nil }); err != nil {
		t.Error(err)
	}
	current, err := ns.GetCurrentNS()
	if err != nil {
		t.Fatal(err)
	}
	defer current.Close()
	if err := testutils.UnmountNS(current); err != nil {
		t.Error(err)
	}
	info, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(info)) {
		if f := strings.Fields(line); f[4]+"/" == strings.Replace(dir, "/var/run/", "/run/", 1) && strings.Contains(line, " shared:") {
			return
		}
	}
	t.Errorf("%s is no shared mount", dir)
}

func TestNewNamespacesOfNobodyLeaveNothing(t *testing.T) {
	testenv.Need(t, testenv.Plain)
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	testenv.Leaks(t)
	n, err := testutils.NewNS()
	if err == nil {
		t.Errorf("made %s", n.Path())
		_ = unix.Unmount(n.Path(), 0)
	} else {
		t.Log(err)
	}
}
