package gonso

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// image makes what an image may have in its root, and what it wants to lead to: /etc of the Set.
func image(t *testing.T) (root string) {
	t.Helper()
	dir := t.TempDir()
	root = dir + "/root"
	var errs []error
	for _, d := range []string{"/etc", "/srv", "/deep/er"} {
		errs = append(errs, os.MkdirAll(root+d, 0o755))
	}
	for name, text := range map[string]string{"/etc/passwd": "theirs", "/etc/mtab": "mounts", "/../secret": "secret"} {
		errs = append(errs, os.WriteFile(root+name, []byte(text), 0o644))
	}
	for name, to := range map[string]string{
		"/absolute": "/etc/passwd", "/relative": "deep/../etc/passwd", "/up": "../../../../../etc/passwd", "/srv/etc": "/etc",
		"/out": dir + "/secret", "/deep/out": "../../secret", "/nowhere": "/etc/new", "/magic": "/proc/self/root/etc/passwd",
		"/loop": "loop", "/outdir": "..",
	} {
		errs = append(errs, os.Symlink(to, root+name))
	}
	errs = append(errs, os.Mkdir(root+"/proc", 0o755), unix.Mkfifo(root+"/fifo", 0o644))
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return root
}

// rootSets are Sets whose files a thread opens, or a worker, of one's own and of somebody else.
func rootSets(t *testing.T) map[string]*Set {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("sleep"))
	sets := map[string]*Set{
		"home": new(Set), "worker": unshare(t, User|Mount),
		"theirs, worker": dynamically(owned(t)(FromPID(sleeper(t, User|Mount), User, Mount))),
	}
	if testenv.Has(testenv.Root) {
		sets["thread"] = unshare(t, Mount)
		sets["theirs, thread"] = dynamically(owned(t)(FromPID(sleeper(t, Mount), Mount)))
	}
	return sets
}

func TestInRoot(t *testing.T) {
	testenv.Leaks(t)
	root := image(t)
	for name, s := range rootSets(t) {
		t.Run(name, func(t *testing.T) {
			theirs := strings.HasPrefix(name, "theirs")
			open := func(name string, flag int, opts ...OpenOption) (*os.File, error) {
				return s.OpenFile(t.Context(), name, flag, 0o640, append(opts, InRoot(root))...)
			}
			read := func(name string, opts ...OpenOption) string {
				f, err := open(name, os.O_RDONLY, opts...)
				if err != nil {
					return err.Error()
				}
				defer f.Close()
				b, err := io.ReadAll(f)
				if err != nil {
					t.Error(err)
				}
				return string(b)
			}
			for _, name := range []string{
				"/etc/passwd", "etc/passwd", "absolute", "/relative", "/up", "/srv/etc/passwd", "/srv/etc/../etc/passwd", "/../../etc/passwd",
				"../etc/passwd", "/outdir/etc/passwd",
			} {
				if got := read(name); got != "theirs" {
					t.Errorf("%s: %s", name, got)
				}
				if got := read(name, AnyFile()); got != "theirs" {
					t.Errorf("%s, any file: %s", name, got)
				}
			}
			for name, want := range map[string]error{
				"/out": os.ErrNotExist, "/deep/out": os.ErrNotExist, "/secret": os.ErrNotExist, "/../secret": os.ErrNotExist,
				"/magic": os.ErrNotExist, "/loop": unix.ELOOP, "": os.ErrNotExist, "/etc/passwd/x": unix.ENOTDIR,
			} {
				for _, flag := range []int{os.O_RDONLY, unix.O_PATH} {
					f, err := open(name, flag)
					wantError(t, name, err, want, root)
					f.Close()
				}
			}
			_, err := open("fifo", os.O_WRONLY)
			if theirs {
				wantError(t, "fifo", err, os.ErrPermission, root+"/fifo", "AnyFile")
				_, err = open("fifo", os.O_WRONLY, AnyFile())
			}
			wantError(t, "fifo", err, unix.ENXIO)

			f, err := open("/", unix.O_PATH|os.O_RDWR)
			if err != nil {
				t.Fatal(err)
			}
			wantSameFile(t, f, root)
			f.Close()

			// What is made is made below, too.
			for _, name := range []string{"/made", "/srv/etc/made", "/../made"} {
				f, err := open(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
				if err != nil {
					t.Error(err)
					continue
				}
				at := root + strings.Replace(filepath.Clean(name), "/srv/etc", "/etc", 1)
				wantSameFile(t, f, at)
				if fi, err := f.Stat(); err != nil || fi.Mode() != 0o640 {
					t.Errorf("%s: %v, %v", name, fi.Mode(), err)
				}
				f.Close()
				os.Remove(at)
			}
			f, err = open("/nowhere", os.O_WRONLY|os.O_CREATE)
			if theirs {
				wantError(t, "dangling", err, unix.ELOOP, root+"/nowhere")
			} else if err != nil {
				t.Error(err)
			} else {
				wantSameFile(t, f, root+"/etc/new")
				f.Close()
				os.Remove(root + "/etc/new")
			}
			_, err = open("..", os.O_WRONLY|os.O_CREATE)
			wantError(t, "..", err, unix.EISDIR)
			f, err = open("/srv/etc", unix.O_TMPFILE|os.O_RDWR)
			if err != nil {
				t.Error(err)
			}
			f.Close()

			_, err = s.OpenFile(t.Context(), "/etc/passwd", os.O_RDONLY, 0, InRoot(root+"/none"))
			wantError(t, "no root", err, os.ErrNotExist, "InRoot: open "+root+"/none")
			_, err = s.OpenFile(t.Context(), "/etc/passwd", os.O_RDONLY, 0, InRoot(root+"/etc/passwd"))
			wantError(t, "no directory", err, unix.ENOTDIR, "InRoot: open "+root+"/etc/passwd")
			for _, dir := range []string{"", "a\x00b", strings.Repeat("x", 5000)} {
				_, err = s.OpenFile(t.Context(), "/etc/passwd", os.O_RDONLY, 0, InRoot(dir))
				wantError(t, "bad root", err, os.ErrInvalid, "InRoot: ")
			}
		})
	}
}

func wantSameFile(t *testing.T, f *os.File, path string) {
	t.Helper()
	is, err := f.Stat()
	want, werr := os.Stat(path)
	if err != nil || werr != nil || !os.SameFile(is, want) {
		t.Errorf("%s is not %s: %v, %v", f.Name(), path, err, werr)
	}
}

// Below a root in somebody else's mount namespace nothing is opened that is not there without one.
func TestInRootKeepsWhatOpenFileRefuses(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s := owned(t)(FromPID(sleeper(t, Mount), Mount))
	for _, c := range []struct{ root, name, says string }{
		{"/", "/dev/null", "open /dev/null: it is a character device 1:3"},
		{"/dev", "null", "open /dev/null: it is a character device 1:3"},
		{"/", "/proc/self/status", "on procfs"},
		{"/proc", "version", "InRoot: open /proc: it is on procfs"},
		{"/sys", "kernel", "InRoot: open /sys: it is on sysfs"},
	} {
		_, err := s.OpenFile(t.Context(), c.name, os.O_RDONLY, 0, InRoot(c.root))
		wantError(t, c.root+" "+c.name, err, os.ErrPermission, c.says, "AnyFile")
	}
	at := fmt.Sprintf("/proc/%d/root", os.Getpid())
	_, err := s.OpenFile(t.Context(), "/etc", os.O_RDONLY, 0, InRoot(at))
	wantError(t, "a magic link to the root", err, unix.ELOOP, "InRoot: open "+at)
	for _, opts := range [][]OpenOption{{InRoot("/")}, {InRoot("/"), AnyFile()}} {
		_, err = s.OpenFile(t.Context(), at+"/etc", os.O_RDONLY, 0, opts...)
		wantError(t, "a magic link below the root", err, unix.ELOOP, "open "+at+"/etc")
	}
}

// While others move what ".." goes through, names are found again and again (EAGAIN).
func TestRenamesCannotFailOpenFileInRoot(t *testing.T) {
	testenv.Leaks(t)
	root := image(t)
	ctx, stop := context.WithCancel(t.Context())
	done := elsewhere(func() {
		for ctx.Err() == nil {
			os.Rename(root+"/deep/er", root+"/deep/other")
			os.Rename(root+"/deep/other", root+"/deep/er")
		}
	})
	name := strings.Repeat("deep/../", 20) + "etc/passwd"
	for range 2000 {
		f, err := new(Set).OpenFile(t.Context(), name, os.O_RDONLY, 0, InRoot(root))
		if err != nil {
			t.Error(err)
			break
		}
		f.Close()
	}
	stop()
	<-done
}

// A relative dir was looked up twice, the second time below itself.
func TestRelativeInRootCannotOpenAFileBelowAnotherRoot(t *testing.T) {
	testenv.Leaks(t)
	t.Chdir(t.TempDir())
	if err := errors.Join(os.MkdirAll("img/img", 0o755), os.WriteFile("img/f", []byte("right"), 0o644),
		os.WriteFile("img/img/f", []byte("wrong"), 0o644)); err != nil {
		t.Fatal(err)
	}
	for name, s := range relativeSets(t) {
		for _, root := range []string{"img", "./img", "img/"} {
			for _, file := range []string{"f", "/f", "../f"} {
				f, err := s.OpenFile(t.Context(), file, os.O_RDONLY, 0, InRoot(root))
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				wantSameFile(t, f, "img/f")
				f.Close()
			}
			f, err := s.OpenFile(t.Context(), "new", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600, InRoot(root))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			wantSameFile(t, f, "img/new")
			f.Close()
			os.Remove("img/new")
		}
	}
}

// relativeSets are Sets in which a relative path means the same as outside.
func relativeSets(t *testing.T) map[string]*Set {
	sets := map[string]*Set{"home": new(Set)}
	if testenv.Has(testenv.UserNS) && testenv.Has(testenv.Process) {
		sets["worker"], sets["worker with mnt"] = unshare(t, User|Net), unshare(t, User|Mount)
	}
	if testenv.Has(testenv.Root) {
		sets["thread"], sets["thread with mnt"] = unshare(t, Net), unshare(t, Mount)
	}
	return sets
}
