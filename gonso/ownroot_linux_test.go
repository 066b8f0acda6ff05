package gonso

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// inChroot has the rest of a test run in a process of its own, in a mount namespace of its own, whose root
// is a directory or, with mounted, a mount. It has a file that is not at the host's root.
func inChroot(t *testing.T, mounted bool) (dir string, inside bool) {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Process, testenv.Tool("unshare"), testenv.Tool("cat"))
	if !testenv.IsAgain(t) {
		testenv.RunAgain(t, testenv.Again(t, "unshare", "--mount"))
		return "", false
	}
	parent := t.TempDir()
	dir = parent + "/root"
	tops, err := os.ReadDir("/")
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(os.Mkdir(dir, 0o755))
	if mounted {
		check(unix.Mount(dir, dir, "", unix.MS_BIND, ""))
	}
	for _, top := range tops {
		name := filepath.Join(dir, top.Name())
		link, err := os.Readlink("/" + top.Name())
		switch {
		case err == nil:
			check(os.Symlink(link, name))
		case top.IsDir():
			check(errors.Join(os.Mkdir(name, 0o755), unix.Mount("/"+top.Name(), name, "", unix.MS_BIND|unix.MS_REC, "")))
		}
	}
	check(errors.Join(os.WriteFile(dir+"/marker", []byte("chroot"), 0o644), os.Mkdir(dir+"/later", 0o755), unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, "")))
	home, err := os.Open("/")
	check(err)
	check(errors.Join(unix.Chroot(dir), unix.Chdir("/")))
	t.Cleanup(func() {
		check(errors.Join(home.Chdir(), unix.Chroot("."), home.Close()))
		for unix.Unmount(dir, unix.MNT_DETACH) == nil {
		}
		for _, top := range tops {
			for unix.Unmount(filepath.Join(dir, top.Name()), unix.MNT_DETACH) == nil {
			}
		}
		unix.Unmount(dir+"/later", unix.MNT_DETACH)
		check(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")) // as testenv.Again's mnt namespace was
	})
	return dir, true
}

// wantChroot looks at the root from inside, in all ways.
func wantChroot(t *testing.T, s *Set) {
	t.Helper()
	if s.Types()&(PID|Time) == 0 {
		if err := s.Run(func() error {
			_, err := os.Stat("/marker")
			return err
		}); err != nil {
			t.Errorf("%v: closure: %v", s, err)
		}
	}
	if got, err := readLine.Do(t.Context(), s, "/marker"); err != nil || got != "chroot" {
		t.Errorf("%v: function: %q, %v", s, got, err)
	}
	if out, err := s.Command(t.Context(), "cat", "/../marker").CombinedOutput(); err != nil || string(out) != "chroot" {
		t.Errorf("%v: command: %q, %v", s, out, err)
	}
	f, err := s.OpenFile(t.Context(), "marker", os.O_RDONLY, 0)
	if err != nil {
		t.Errorf("%v: OpenFile: %v", s, err)
		return
	}
	f.Close()
}

func testInChroot(t *testing.T, mounted bool) {
	outer := 0
	if testenv.IsAgain(t) {
		outer = sleeper(t, User) // in a chroot the kernel makes none
	}
	if _, inside := inChroot(t, mounted); !inside {
		return
	}
	testenv.Leaks(t)
	mounts := func() int { return strings.Count(valueHere(t, "/proc/self/mountinfo"), "\n") }
	before := mounts()
	for _, types := range []Type{Mount, Mount | Net, Mount | PID, Mount | timeIfThere() | UTS} {
		for p := range PropagationUnchanged + 1 {
			s := unshare(t, types, Propagation(p))
			wantChroot(t, s)
			wantChroot(t, owned(t)(s.Unshare(Mount)))
			if n := mounts(); n != before {
				t.Errorf("%v, propagation %d: outside there are %d mounts more", s, p, n-before)
			}
		}
	}
	_, err := owned(t)(FromPID(outer, User)).Unshare(Mount)
	wantError(t, "below a user namespace", err, errors.ErrUnsupported, "chroot", "mnt", "FromPID")
	s := unshare(t, Mount|PID, MountProc())
	wantChroot(t, s)
	if comm, err := readLine.Do(t.Context(), s, "/proc/1/comm"); err != nil || !strings.HasPrefix(comm, "gonso") && comm != "5" {
		t.Errorf("pid 1 is %q, %v", comm, err)
	}

	// The host's mounts arrive, and nothing goes out, which is what a slave is.
	s = unshare(t, Mount)
	if err := unix.Mount("none", "/later", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/later/arrived", []byte("yes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readLine.Do(t.Context(), s, "/later/arrived"); err != nil || got != "yes" {
		t.Errorf("a mount of outside: %q, %v", got, err)
	}
	if err := s.Run(func() error {
		return errors.Join(unix.Mount("none", "/later", "tmpfs", 0, ""), unix.Mount("none", "/", "tmpfs", 0, ""))
	}); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"/later/arrived", "/marker"} {
		if _, err := os.Stat(name); err != nil {
			t.Errorf("a mount of inside is here: %v", err)
		}
	}
	s.Close()
	unix.Unmount("/later", unix.MNT_DETACH)
}

// util-linux/util-linux#718
func TestWorkCannotLeaveTheChrootOfItsProgram(t *testing.T) { testInChroot(t, false) }

// A root that is a mount: nothing was refused, and the work was at the host's root.
func TestWorkCannotLeaveTheChrootOnAMount(t *testing.T) { testInChroot(t, true) }
