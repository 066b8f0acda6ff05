package gonso

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

func TestCutPath(t *testing.T) {
	for _, test := range [][3]string{
		{"", "", ""}, {"a", ".", "a"}, {"/a", "/", "a"}, {"a/b", "a/", "b"}, {"/a//b", "/a//", "b"}, {"a/", ".", "a/"},
		{"/a/b//", "/a/", "b//"}, {"/", "", "/"}, {"a/..", "a/", ".."}, {"..", ".", ".."}, {"a/../b", "a/../", "b"},
	} {
		dir, base := cutPath(test[0])
		if test[0] == "/" {
			continue // no name in it: whatever the kernel says of these
		}
		if dir != test[1] || base != test[2] {
			t.Errorf("%q: %q and %q", test[0], dir, base)
		}
	}
}

// Nothing is both, and what is refused has a name in the error.
func TestFileSystemsAreOrdinaryOrTheKernels(t *testing.T) {
	for magic, name := range kernelFileSystems {
		if _, ok := ordinaryFileSystems[magic]; ok || name == "" {
			t.Errorf("%#x: %q", magic, name)
		}
	}
	for name, ordinary := range map[string]bool{"/": true, "/proc": false, "/proc/self/ns": false, "/sys": false, t.TempDir(): true} {
		w, err := find(unix.AT_FDCWD, name, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.ordinary(); (err == nil) != ordinary || err != nil && !errors.Is(err, os.ErrPermission) {
			t.Errorf("%s: %v", name, err)
		}
		w.close()
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(r.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	wantError(t, "a pipe", (&found{fd: int(r.Fd()), stat: st}).ordinary(), os.ErrPermission, "a FIFO")
}

// With nothing but descriptors, in a worker or here, the file is the one that was found.
func TestReopenCannotGetAnotherFile(t *testing.T) {
	testenv.Leaks(t)
	dir := t.TempDir()
	ways := map[string]reopener{"by procfs": reopen}
	if testenv.Has(testenv.Root) {
		ways["alone"] = reopenAlone
	}
	for name, reopen := range ways {
		for i, flag := range []int{os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC, os.O_RDONLY | unix.O_NOFOLLOW} {
			path := fmt.Sprintf("%s/%s%d", dir, name, i)
			if err := os.WriteFile(path, []byte("found"), 0o600); err != nil {
				t.Fatal(err)
			}
			w, err := find(unix.AT_FDCWD, path, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.Rename(path, path+"old"), unix.Mkfifo(path, 0o600)); err != nil {
				t.Fatal(err)
			}
			fd, err := reopen(w.fd, flag)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			f := os.NewFile(uintptr(fd), path)
			var st unix.Stat_t
			if err := unix.Fstat(fd, &st); err != nil || st.Ino != w.stat.Ino || st.Dev != w.stat.Dev {
				t.Errorf("%s: %v, another file", name, err)
			}
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s: %v, not close-on-exec", name, err)
			}
			want := "found"
			if flag&os.O_TRUNC != 0 {
				want = ""
			}
			if b, err := os.ReadFile(path + "old"); err != nil || string(b) != want {
				t.Errorf("%s: %q, %v", name, b, err)
			}
			f.Close()
			w.close()
		}
		w, err := find(unix.AT_FDCWD, dir, 0)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := reopen(w.fd, os.O_RDONLY)
		if err != nil || !sameFile(fd, w.fd) {
			t.Errorf("%s: a directory: %v", name, err)
		}
		closeFD(fd)
		w.close()
	}
}

// As for OpenFile: Dir is a path inside, too.
func TestDirCannotBeLedOutside(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("sleep"))
	testenv.Leaks(t)
	dir := t.TempDir()
	for name, to := range map[string]string{"out": "/proc/self/root", "cwd": "/proc/self/cwd", "in": dir} {
		if err := os.Symlink(to, dir+"/"+name); err != nil {
			t.Fatal(err)
		}
	}
	sets := map[string]*Set{"worker": dynamically(owned(t)(FromPID(sleeper(t, User|Mount), User, Mount)))}
	if testenv.Has(testenv.Root) {
		sets["thread"] = dynamically(owned(t)(FromPID(sleeper(t, Mount), Mount)))
	}
	for name, s := range sets {
		for _, opts := range [][]DoOption{nil, {Isolated()}, {InThread()}} {
			if opts != nil && name == "worker" && len(opts) == 1 && doOptions(opts).inThread {
				continue
			}
			for _, path := range []string{dir + "/out", dir + "/cwd", "/proc/thread-self/cwd"} {
				if got, err := placedInside.Do(t.Context(), s, "", append(opts, Dir(path))...); !errors.Is(err, unix.ELOOP) {
					t.Errorf("%s: %s is %+v, %v", name, path, got, err)
				}
			}
			if got, err := placedInside.Do(t.Context(), s, "", append(opts, Dir(dir+"/in"))...); err != nil || got.Dir != dir {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	}
	if s := sets["thread"]; s != nil {
		err := s.Run(func() error { return nil }, Dir(dir+"/out"))
		wantError(t, "closure", err, unix.ELOOP, "chdir")
	}
	// One's own is as ever.
	s := unshare(t, User|Mount)
	if _, err := placedInside.Do(t.Context(), s, "", Dir("/proc/self/cwd")); err != nil {
		t.Error(err)
	}
}

// A closure is in a Set where /proc may be anything, and works with another one.
func TestClosureInAForeignSetCannotMisleadOpenFileAndDial(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	dir, err := os.MkdirTemp("", "u")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(dir+"/file", []byte("file"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", dir+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	in, from := unshare(t, Mount), owned(t)(FromPID(sleeper(t, Mount), Mount))
	err = in.Run(func() error {
		if err := unix.Mount("none", "/proc", "tmpfs", 0, ""); err != nil {
			return err
		}
		f, err := from.OpenFile(t.Context(), dir+"/file", os.O_RDONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		if b, err := io.ReadAll(f); err != nil || string(b) != "file" {
			t.Errorf("%q, %v", b, err)
		}
		c, err := from.DialContext(t.Context(), "unix", dir+"/socket")
		if err != nil {
			return err
		}
		return c.Close()
	})
	if err != nil {
		t.Error(err)
	}
}

// Control functions run in a goroutine of package gonso's when a path is dialled.
func TestControlThatPanicsOrExitsEndsItsCaller(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	dir, err := os.MkdirTemp("", "u")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", dir+"/socket")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := unshare(t, Mount)
	dial := func(control func()) (recovered any, returned bool) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() { recovered = recover() }()
			_, err := s.Dialer(net.Dialer{ControlContext: func(_ context.Context, _, _ string, rc syscall.RawConn) error {
				rc.Control(func(fd uintptr) { unix.Close(int(fd)) }) // package net would not
				control()
				return nil
			}}).Dial("unix", dir+"/socket")
			t.Errorf("dialled: %v", err)
			returned = true
		}()
		<-done
		return recovered, returned
	}
	if r, returned := dial(func() { panic("on purpose") }); r != "on purpose" || returned {
		t.Errorf("recovered %v", r)
	}
	if r, returned := dial(func() { runtime.Goexit() }); r != nil || returned {
		t.Errorf("recovered %v", r)
	}
}
