package gonso

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// copyOfTest puts this test binary in a directory.
func copyOfTest(t *testing.T, dir string, mode os.FileMode) string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "private.test")
	if err := os.WriteFile(name, b, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	return name
}

// wantInsideAllWays has this program run inside in every way there is.
func wantInsideAllWays(t *testing.T, s *Set, uid int) {
	t.Helper()
	if p, err := where.Do(t.Context(), s, struct{}{}); err != nil || p.UID != 0 {
		t.Errorf("function: uid %d, %v", p.UID, err)
	}
	f, err := s.OpenFile(t.Context(), "/proc/thread-self/status", os.O_RDONLY, 0)
	if err != nil {
		t.Errorf("OpenFile: %v", err)
	} else {
		f.Close()
	}
	env := append(os.Environ(), "TMPDIR=/tmp") // this one's is closed to others
	self := s.Self(t.Context(), "-test.run=^$")
	self.Env = env
	if out, err := self.CombinedOutput(); err != nil {
		t.Errorf("Self: %v: %s", err, out)
	}
	if uid < 0 {
		return
	}
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	c := s.Command(t.Context(), "private.test", "-test.run=^$")
	c.Exe, c.Env = exe, env
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("Exe: %v: %s", err, out)
	}
}

// A program that only its owner may execute, as "go build" makes it with umask 077, and a Set whose root
// is another user. opencontainers/runc#4449
func TestProgramOfItsOwnerAloneRunsInside(t *testing.T) {
	testenv.Need(t, testenv.Host, testenv.Process)
	if !testenv.IsAgain(t) {
		c := testenv.Again(t)
		c.Path = copyOfTest(t, t.TempDir(), 0o700)
		testenv.RunAgain(t, c)
		return
	}
	testenv.Leaks(t)
	wantInsideAllWays(t, unshare(t, User, farAway()), 100000)
	wantInsideAllWays(t, unshare(t, User|Mount|Net, farAway()), 100000)
	s := unshare(t, User|UTS)
	if p, err := where.Do(t.Context(), s, struct{}{}); err != nil || p.UID != 0 {
		t.Errorf("its owner: uid %d, %v", p.UID, err)
	}
}

// The mount of a running program that is not to execute anything any more. lxc/lxc#3610
func TestProgramOnAMountThatTurnedNoexecRunsInside(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Process)
	if !testenv.IsAgain(t) {
		dir := t.TempDir()
		if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		defer unix.Unmount(dir, unix.MNT_DETACH)
		c := testenv.Again(t)
		c.Path = copyOfTest(t, dir, 0o755)
		testenv.RunAgain(t, c)
		return
	}
	testenv.Leaks(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", filepath.Dir(exe), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_NOEXEC, ""); err != nil {
		t.Fatal(err)
	}
	wantInsideAllWays(t, unshare(t, User|UTS), -1)
	wantInsideAllWays(t, unshare(t, PID|Mount|timeIfThere()), -1)
}

// An error about the program says so, names it, and no types.
func TestErrorAboutTheProgramCannotReadAsAboutTheFile(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	path := copyOfTest(t, t.TempDir(), 0o600)
	s := unshare(t, User|UTS)
	if err := s.SetWorker(Worker{Path: path}); err != nil {
		t.Fatal(err)
	}
	_, err := s.OpenFile(t.Context(), "/etc/hostname", os.O_RDONLY, 0)
	wantError(t, "OpenFile", err, fs.ErrPermission)
	if want := fmt.Sprintf("gonso: start worker: exec %s: permission denied", path); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v\nwant %s", err, want)
	}
}
