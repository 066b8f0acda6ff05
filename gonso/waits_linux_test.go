package gonso

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/testenv"
	"github.com/gonso/gonso/reexec"
)

// returnsWithin fails the test if do takes longer.
func returnsWithin(t *testing.T, d time.Duration, what string, do func()) {
	t.Helper()
	d = testenv.Bound(d)
	begin := time.Now()
	if !sys.WithinTime(d+10*time.Second, do) {
		t.Fatalf("%s has not returned after %v", what, time.Since(begin))
	}
	if took := time.Since(begin); took > d {
		t.Errorf("%s took %v, longer than %v", what, took, d)
	}
}

const waitsGrace = 500 * time.Millisecond

// soon is a context that is done while something waits.
func soon(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), waitsGrace)
	t.Cleanup(cancel)
	return ctx
}

// silentInside is a Set with a directory inside of which nothing is answered.
func silentInside(t *testing.T, w Worker) (*Set, string) {
	t.Helper()
	testenv.Need(t, testenv.Root, testenv.Process)
	dir := t.TempDir()
	end, err := testenv.SilentFS(dir)
	testenv.Found(t, "fuse", err)
	t.Cleanup(end)
	s := unshare(t, Mount)
	if w.Dir != "" {
		w.Dir = dir + w.Dir
	}
	w.Grace = waitsGrace
	if err := s.SetWorker(w); err != nil {
		t.Fatal(err)
	}
	return s, dir
}

var idleFunc = Register("test.waits.idle", func(context.Context, struct{}) (int, error) { return os.Getpid(), nil })

var openFunc = Register("test.waits.open", func(_ context.Context, path string) (struct{}, error) {
	_, err := os.Open(path)
	return struct{}{}, err
})

// A file system inside that does not answer, as FUSE whose server is hostile, keeps a thread or
// a process, and no call of gonso's.
func TestSilentFileSystemCannotKeepUsWaiting(t *testing.T) {
	late := func(t *testing.T, err error) {
		t.Helper()
		t.Log(err)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
	}
	for name, do := range map[string]func(t *testing.T, s *Set, dir string) error{
		"OpenFile": func(t *testing.T, s *Set, dir string) error {
			_, err := s.OpenFile(soon(t), dir+"/file", os.O_RDONLY, 0)
			if !errors.Is(err, sys.ErrLeftBehind) {
				t.Errorf("it does not say what is left behind: %v", err)
			}
			return err
		},
		"Dir of a call on a thread": func(t *testing.T, s *Set, dir string) error {
			_, err := idleFunc.Do(soon(t), s, struct{}{}, InThread(), Dir(dir+"/sub"))
			return err
		},
		"Dir of a call in a process": func(t *testing.T, s *Set, dir string) error {
			_, err := idleFunc.Do(soon(t), s, struct{}{}, InProcess(), Dir(dir+"/sub"))
			return err
		},
		"a function in a process": func(t *testing.T, s *Set, dir string) error {
			_, err := openFunc.Do(soon(t), s, dir+"/file", InProcess())
			return err
		},
		"an isolated call": func(t *testing.T, s *Set, dir string) error {
			_, err := openFunc.Do(soon(t), s, dir+"/file", Isolated())
			return err
		},
		"Command": func(t *testing.T, s *Set, dir string) error { return s.Command(soon(t), dir+"/program").Run() },
		"Cmd.Dir": func(t *testing.T, s *Set, dir string) error {
			c := s.Command(soon(t), "/bin/true")
			c.Dir = dir + "/sub"
			return c.Run()
		},
		"Cmd.Chroot": func(t *testing.T, s *Set, dir string) error {
			c := s.Command(soon(t), "/bin/true")
			c.Chroot = dir + "/sub"
			return c.Run()
		},
	} {
		t.Run(name, func(t *testing.T) {
			testenv.Leaks(t)
			s, dir := silentInside(t, Worker{})
			returnsWithin(t, 2*waitsGrace+time.Second, name, func() { late(t, do(t, s, dir)) })
			returnsWithin(t, waitsGrace+time.Second, "Close", func() { s.Close() })
		})
	}
	t.Run("Worker.Dir", func(t *testing.T) {
		testenv.Leaks(t)
		s, _ := silentInside(t, Worker{Dir: "/sub"})
		returnsWithin(t, 2*waitsGrace+time.Second, "Do", func() {
			_, err := idleFunc.Do(soon(t), s, struct{}{}, InProcess())
			late(t, err)
		})
		returnsWithin(t, waitsGrace+time.Second, "Close", func() { s.Close() })
	})
}

// What runs where somebody else traces it is killed with its context; only reaping waits.
func TestTracedCommandCannotKeepUsWaiting(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("sleep"))
	for name, start := range map[string]func(c *Cmd) error{
		"sleeps":  func(c *Cmd) error { return c.Start() },
		"streams": func(c *Cmd) error { c.Stdout = new(strings.Builder); return c.Start() },
		"delay":   func(c *Cmd) error { c.WaitDelay = waitsGrace; return c.Start() },
	} {
		t.Run(name, func(t *testing.T) {
			s := unshare(t, User|UTS)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := s.Command(ctx, "sleep", "30")
			if err := start(c); err != nil {
				t.Fatal(err)
			}
			testenv.Traced(t, c.Process.Pid)
			cancel()
			returnsWithin(t, 2*waitsGrace+time.Second, "Wait", func() {
				if err := c.Wait(); !errors.Is(err, procfs.ErrTraced) || !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		})
	}
}

// A thread of the Set's in which a function of the caller's runs is waited for.
func TestFunctionOnThreadIsNeverLeftBehind(t *testing.T) {
	testenv.Need(t, testenv.Root)
	s := unshare(t, UTS)
	release := make(chan struct{})
	slow := func() error { <-release; return nil }
	done := make(chan error, 1)
	go func() { done <- s.Run(slow) }()
	select {
	case err := <-done:
		t.Fatalf("returned while the function runs: %v", err)
	case <-time.After(3 * stepPatience):
	}
	close(release)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestFrozenCgroupIsSaid(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Process, testenv.Cgroup2)
	top := "/sys/fs/cgroup"
	if _, err := os.Stat(top + "/cgroup.controllers"); err != nil {
		top = "/sys/fs/cgroup/unified"
	}
	dir, err := os.MkdirTemp(top, "gonso-waits-")
	testenv.Found(t, "cgroup2", err)
	defer func() { testenv.Eventually(t, "the cgroup is empty", func() bool { return os.Remove(dir) == nil }) }()
	freeze := filepath.Join(dir, "cgroup.freeze")
	testenv.Found(t, "freezer", os.WriteFile(freeze, []byte("1"), 0))
	defer os.WriteFile(freeze, []byte("0"), 0)
	s := unshare(t, UTS)
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	frozen := func(err error) {
		t.Helper()
		if !errors.Is(err, reexec.ErrFrozen) || !strings.Contains(err.Error(), "frozen cgroup") || !strings.Contains(err.Error(), dir) {
			t.Error(err)
		}
	}
	returnsWithin(t, waitsGrace+time.Second, "Start", func() {
		c := s.Command(soon(t), "true")
		c.Cgroup = f
		frozen(c.Run())
	})
	if err := s.SetWorker(Worker{Cgroup: dir, Grace: waitsGrace}); err == nil {
		returnsWithin(t, waitsGrace+time.Second, "Do", func() {
			_, err := idleFunc.Do(soon(t), s, struct{}{}, InProcess())
			frozen(err)
		})
	} else {
		frozen(err)
	}
	if err := exec.Command("true").Run(); err != nil { // forking goes on
		t.Error(err)
	}
}

// The same file, open in this program: exec closes a copy of it.
func TestOpenFileThatIsNotClosedCannotKeepCommandsWaiting(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Process)
	dir := t.TempDir()
	end := testenv.Silent(t, dir, testenv.Lookups|testenv.Stats|testenv.Opens|testenv.Reads)
	s := unshare(t, UTS)
	reexec.BeCautious()                                                // as once a mnt namespace was opened
	fd, err := unix.Open(dir+"/file", unix.O_RDONLY|unix.O_CLOEXEC, 0) // package os would have it polled
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	defer end()
	for range runtime.GOMAXPROCS(0) + 1 { // a start that waits in clone(2) would keep a processor
		if err := s.Command(soon(t), "/bin/true").Run(); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, sys.ErrLeftBehind) {
			t.Errorf("%v", err)
		}
		runtime.GC()
	}
	end()
	if err := s.Command(t.Context(), "/bin/true").Run(); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}
