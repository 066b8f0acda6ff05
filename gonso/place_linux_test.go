package gonso

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// placed is where work runs that was given a place of its own.
type placed struct {
	Dir   string
	Names string // what is at the root
	Mode  fs.FileMode
}

func lookPlaced(make string) (p placed, err error) {
	if p.Dir, err = os.Getwd(); err != nil {
		return p, err
	}
	entries, err := os.ReadDir("/")
	for _, e := range entries {
		p.Names += e.Name() + " "
	}
	if err != nil || make == "" {
		return p, err
	}
	if err := os.WriteFile(make, nil, 0o666); err != nil {
		return p, err
	}
	defer os.Remove(make)
	fi, err := os.Stat(make)
	if err == nil {
		p.Mode = fi.Mode()
	}
	return p, err
}

var placedInside = Register("test.placed", func(_ context.Context, make string) (placed, error) { return lookPlaced(make) })

var placedWithGoroutines = Register("test.placed.goroutines", func(_ context.Context, make string) (p placed, err error) {
	done := elsewhere(func() { p, err = lookPlaced(make) })
	<-done
	return p, err
}, StartsGoroutines())

// elsewhere runs f in another goroutine, on whatever thread.
func elsewhere(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}

// Every way to run work, in Sets of every kind.
func eachPlaced(t *testing.T, f func(t *testing.T, s *Set, run func(make string, opts ...DoOption) (placed, error))) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	with := func(s *Set, opt DoOption) func(string, ...DoOption) (placed, error) {
		return func(make string, opts ...DoOption) (placed, error) {
			return placedInside.Do(t.Context(), s, make, append(opts, opt)...)
		}
	}
	closure := func(s *Set) func(string, ...DoOption) (placed, error) {
		return func(make string, opts ...DoOption) (p placed, err error) {
			err = s.Run(func() (err error) {
				p, err = lookPlaced(make)
				return err
			}, opts...)
			return p, err
		}
	}
	sets := map[string]Type{"zero": 0, "user": User, "user+mnt": User | Mount}
	if testenv.Has(testenv.Root) {
		sets["mnt"], sets["net"] = Mount, Net
	}
	for name, types := range sets {
		s := new(Set)
		if types != 0 {
			s = unshare(t, types)
		}
		t.Cleanup(func() { s.Close() })
		ways := map[string]func(string, ...DoOption) (placed, error){"process": with(s, InProcess()), "isolated": with(s, Isolated())}
		ways["isolated goroutines"] = func(make string, opts ...DoOption) (placed, error) {
			return placedWithGoroutines.Do(t.Context(), s, make, append(opts, Isolated())...)
		}
		if types&User == 0 {
			ways["thread"], ways["closure"] = with(s, InThread()), closure(s)
		}
		for way, run := range ways {
			t.Run(name+", "+way, func(t *testing.T) { f(t, s, run) })
		}
	}
}

func TestDirAndUmask(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	eachPlaced(t, func(t *testing.T, s *Set, run func(string, ...DoOption) (placed, error)) {
		dir, err := filepath.EvalSymlinks(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		p, err := run("made", Dir(dir), Umask(0o027))
		if err != nil || p.Dir != dir || p.Mode != 0o640 {
			t.Errorf("%+v, %v; want %s", p, err, dir)
		}
		if p, err = run("made", Dir(dir), Umask(0)); err != nil || p.Mode != 0o666 {
			t.Errorf("%+v, %v", p, err)
		}
		// Nothing of it stays, and nothing got out.
		if p, err = run(""); err != nil || p.Dir == dir {
			t.Errorf("afterwards: %+v, %v", p, err)
		}
		if now, err := os.Getwd(); err != nil || now != here {
			t.Errorf("this process is in %s, %v", now, err)
		}
		if mask := umaskOf(t); mask == "0027" || mask == "0000" {
			t.Errorf("this process has umask %s", mask)
		}
		_, err = run("", Dir(dir+"/missing"))
		wantError(t, "no such directory", err, fs.ErrNotExist, "chdir", dir+"/missing")
		var pe *fs.PathError
		if !errors.As(err, &pe) {
			t.Errorf("%T", err)
		}
		_, err = run("", Dir("/etc/passwd"))
		wantError(t, "no directory", err, unix.ENOTDIR)
	})
}

func umaskOf(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	return fields(string(b))["Umask"]
}

func TestRoot(t *testing.T) {
	eachPlaced(t, func(t *testing.T, s *Set, run func(string, ...DoOption) (placed, error)) {
		root := t.TempDir()
		for _, sub := range []string{"a", "b/c"} {
			if err := os.MkdirAll(root+"/"+sub, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		dir, err := os.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		p, err := run("", Root(dir))
		if !testenv.Has(testenv.Root) && s.Types()&User == 0 {
			wantError(t, "without privileges", err, unix.EPERM, "chroot", "CAP_SYS_CHROOT")
			return
		}
		if err != nil || p.Dir != "/" || p.Names != "a b " {
			t.Errorf("%+v, %v", p, err)
		}
		p, err = run("made", Root(dir), Dir("b/c"), Umask(0o077))
		if err != nil || p.Dir != "/b/c" || p.Names != "a b " || p.Mode != 0o600 {
			t.Errorf("%+v, %v", p, err)
		}
		if p, err = run("", Root(dir), Dir("/b")); err != nil || p.Dir != "/b" {
			t.Errorf("%+v, %v", p, err)
		}
		_, err = run("", Root(dir), Dir(root))
		wantError(t, "a directory that is outside", err, fs.ErrNotExist, "chdir")
		file, err := os.Open("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		_, err = run("", Root(file))
		wantError(t, "no directory", err, unix.ENOTDIR)
		if _, err := dir.Stat(); err != nil {
			t.Errorf("the caller's file: %v", err)
		}
		closed, err := os.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		closed.Close()
		_, err = run("", Root(closed))
		wantError(t, "closed", err, os.ErrClosed)
	})
}

func TestDirFile(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	eachPlaced(t, func(t *testing.T, s *Set, run func(string, ...DoOption) (placed, error)) {
		path, err := filepath.EvalSymlinks(t.TempDir())
		if err == nil {
			err = os.MkdirAll(path+"/root/in", 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		open := func(name string, flag int) *os.File {
			fd, err := unix.Open(path+name, flag|unix.O_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			f := os.NewFile(uintptr(fd), path+name)
			t.Cleanup(func() { f.Close() })
			return f
		}
		dir, in, root := open("", unix.O_PATH), open("/root/in", os.O_RDONLY), open("/root", unix.O_PATH)
		// Of a host's directory in another mount namespace the kernel says no path.
		p, err := run("made", DirFile(dir), Umask(0o027))
		if s.Types()&Mount == 0 && (err != nil || p.Dir != path || p.Mode != 0o640) {
			t.Errorf("%+v, %v; want %s", p, err, path)
		}
		if s.Types()&Mount != 0 && !errors.Is(err, unix.ENOENT) {
			t.Errorf("%+v, %v", p, err)
		}
		if now, err := os.Getwd(); err != nil || now != here {
			t.Errorf("this process is in %s, %v", now, err)
		}
		if _, err := dir.Stat(); err != nil {
			t.Errorf("the caller's file: %v", err)
		}
		inside, err := s.OpenFile(t.Context(), path, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer inside.Close()
		if p, err := run("made", DirFile(inside)); err != nil || p.Dir != path {
			t.Errorf("of OpenFile: %+v, %v; want %s", p, err, path)
		}

		if testenv.Has(testenv.Root) || s.Types()&User != 0 {
			if p, err := run("", Root(root), DirFile(in)); err != nil || p.Dir != "/in" {
				t.Errorf("below the Root: %+v, %v", p, err)
			}
			_, err = run("", Root(root), DirFile(dir))
			wantError(t, "above the Root", err, fs.ErrPermission, "DirFile: the directory is not below the Root")
		}

		file, err := os.Open("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		_, err = run("", DirFile(file))
		wantError(t, "no directory", err, unix.ENOTDIR, "DirFile: chdir /proc/self/status")
		_, err = run("", DirFile(dir), Dir("/"))
		wantError(t, "both", err, fs.ErrInvalid, "Dir and DirFile")
		dir.Close()
		_, err = run("", DirFile(dir))
		wantError(t, "closed", err, os.ErrClosed, "DirFile")
	})
}

// CVE-2024-21626: from a working directory of the host ".." goes on to all of its files.
func TestRootInsideCannotGetTheHostsFilesByDirFile(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("sleep"))
	testenv.Leaks(t)
	host, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	// Of a third mount namespace, which is neither the host's nor the Set's.
	third := unshare(t, User|Mount)
	other, err := third.OpenFile(t.Context(), "/", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	sets := map[string]*Set{"worker": dynamically(owned(t)(FromPID(sleeper(t, User|Mount), User, Mount)))}
	if testenv.Has(testenv.Root) {
		sets["thread"] = dynamically(owned(t)(FromPID(sleeper(t, Mount), Mount)))
	}
	for name, s := range sets {
		for _, opts := range [][]DoOption{nil, {Isolated()}, {InThread()}} {
			if name == "worker" && doOptions(opts).inThread {
				continue
			}
			_, err := placedInside.Do(t.Context(), s, "", append(opts, DirFile(host))...)
			wantError(t, name+", host", err, fs.ErrPermission, "DirFile: "+host.Name(), "OpenFile")
			_, err = placedInside.Do(t.Context(), s, "", append(opts, Root(host))...)
			wantError(t, name+", host as root", err, fs.ErrPermission, "Root: "+host.Name(), "OpenFile")
			_, err = placedInside.Do(t.Context(), s, "", append(opts, DirFile(other))...)
			wantError(t, name+", third", err, fs.ErrPermission, "DirFile: ", "not in the mount namespace")

			inside, err := s.OpenFile(t.Context(), "/proc/..", os.O_RDONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if p, err := placedInside.Do(t.Context(), s, "", append(opts, DirFile(inside))...); err != nil || p.Dir != "/" {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
			inside.Close()
		}
	}
	if s := sets["thread"]; s != nil {
		never := func() error { t.Error("it ran"); return nil }
		wantError(t, "Run", s.Run(never, DirFile(host)), fs.ErrPermission, "gonso: run", "DirFile: "+host.Name())
		wantError(t, "Run", s.Run(never, DirFile(other)), fs.ErrPermission, "gonso: run: DirFile: ")
		wantError(t, "Run", s.Run(never, Root(host)), fs.ErrPermission, "gonso: run", "Root: "+host.Name())
		wantError(t, "Go", s.Go(never, func() {}, DirFile(host)), fs.ErrPermission, "gonso: go", "DirFile: "+host.Name())
	}
}

// The thread ends with the work: it cannot share root and working directory again.
func TestPlacedThreadIsNeverGivenBack(t *testing.T) {
	testenv.Leaks(t)
	var tid int
	if err := new(Set).Run(func() error { tid = unix.Gettid(); return nil }, Dir("/")); err != nil {
		t.Fatal(err)
	}
	wantThreadGone(t, tid)
}

func TestBadInputOfPlace(t *testing.T) {
	s := new(Set)
	for what, opt := range map[string]DoOption{
		"nil root": Root(nil), "no dir": Dir(""), "NUL": Dir("a\x00b"), "long": Dir(strings.Repeat("x", 5000)),
		"nil DirFile": DirFile(nil), "mask": Umask(-1), "large mask": Umask(0o1000),
	} {
		ran := false
		err := s.Run(func() error { ran = true; return nil }, opt)
		wantError(t, what, err, os.ErrInvalid)
		_, err = placedInside.Do(t.Context(), s, "", opt)
		wantError(t, what, err, os.ErrInvalid)
		if ran {
			t.Errorf("%s: the closure ran", what)
		}
	}
	_, err := placedWithGoroutines.Do(t.Context(), s, "", Dir("/"))
	wantError(t, "goroutines", err, os.ErrInvalid, "StartsGoroutines", "Isolated")
	err = s.Run(func() error { return nil }, Isolated())
	wantError(t, "a closure in a process", err, os.ErrInvalid, "register")
}
