package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// Builders that write to one layout all find their images there, in files that others may read.
func TestBuildersThatShareALayoutLoseNothing(t *testing.T) {
	s := newSite(t).withBase()
	out := filepath.Join(s.dir, "not", "there", "yet")
	digests := make([]string, 8)
	var group sync.WaitGroup
	for i := range digests {
		group.Go(func() {
			name := fmt.Sprint("i", i)
			s.files(name, map[string]string{"Dockerfile": "FROM base\nLABEL n=" + name})
			digest, progress, err := s.build("-t", name, "-o", out, name)
			if err != nil {
				t.Errorf("%v\n%s", err, progress)
			}
			digests[i] = digest
		})
	}
	group.Wait()
	for i, want := range digests {
		img, err := fromLayout(out, fmt.Sprint("i", i))
		if err != nil {
			t.Error(err)
			continue
		}
		if got, err := img.Digest(); err != nil || got.String() != want {
			t.Errorf("%v, %v, not %s", got, err, want)
		}
	}
	if got := filesBelow(t, out); len(got) < 3+1+2*len(digests) || slices.ContainsFunc(got, func(line string) bool { return !strings.HasPrefix(line, "-rw-r--r-- ") }) {
		t.Errorf("%q", got)
	}
	s.files("i0", map[string]string{"Dockerfile": "FROM base\nLABEL n=again"})
	s.mustBuild("-t", "i0", "-o", out, "i0") // takes the place of the one before
	if _, err := fromLayout(out, "i0"); err != nil {
		t.Error(err)
	}
	if b, err := os.ReadFile(filepath.Join(out, "index.json")); err != nil || strings.Count(string(b), refName) != len(digests) {
		t.Errorf("%v: %s", err, b)
	}
}

// filesBelow has the modes and names of all files below a directory.
func filesBelow(t *testing.T, dir string) (files []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err == nil {
			files = append(files, st.Mode().String()+" "+name)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

// A failing has a layer that cannot be read to its end.
type failing struct {
	v1.Layer
	fail func() error
}

func (f failing) Compressed() (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("begun"), readFunc(func([]byte) (int, error) { return 0, f.fail() }))), nil
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// An image that cannot be written, or whose writing is interrupted, leaves no trace.
func TestNoLayoutIsHalfMade(t *testing.T) {
	s := newSite(t)
	there := s.layoutOf("there", archive(t))
	new := filepath.Join(s.dir, "new")
	foreign := s.files("foreign", map[string]string{"index.json": "{", "file": "text"})
	ctx, cancel := context.WithCancelCause(context.Background())
	unreadable := errors.New("unreadable")
	for _, fail := range []func() error{
		func() error { return unreadable },
		func() error {
			if ctx.Err() != nil {
				return io.EOF
			}
			cancel(errInterrupted)
			return nil
		},
	} {
		for _, dir := range []string{there, filepath.Join(new, "deep"), foreign} {
			before := filesBelow(t, dir)
			img, err := mutate.AppendLayers(empty.Image, static.NewLayer([]byte("first"), types.OCIUncompressedLayer),
				failing{static.NewLayer([]byte("second"), types.OCIUncompressedLayer), fail})
			if err != nil {
				t.Fatal(err)
			}
			err = writeLayout(ctx, img, dir, "latest")
			if err == nil || !errors.Is(err, unreadable) && !errors.Is(err, errInterrupted) || !strings.HasPrefix(err.Error(), "-o "+dir+": ") {
				t.Errorf("%v", err)
			}
			if after := filesBelow(t, dir); !slices.Equal(after, before) {
				t.Errorf("%q, and before %q", after, before)
			}
		}
		if exists(new) {
			t.Error(new + " is there")
		}
	}
	before := filesBelow(t, foreign)
	if err := writeLayout(context.Background(), empty.Image, foreign, "latest"); err == nil || !strings.HasPrefix(err.Error(), "-o "+foreign+": index.json: ") {
		t.Error(err)
	}
	if after := filesBelow(t, foreign); !slices.Equal(after, before) {
		t.Errorf("%q, and before %q", after, before)
	}
}

func TestFullDiskForALayout(t *testing.T) {
	testenv.Need(t, testenv.Root)
	s := newSite(t).withBase()
	disk := filepath.Join(s.dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "mode=755,size=64k"); err != nil {
		testenv.Found(t, "rights", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	s.files("ctx", map[string]string{"Dockerfile": "FROM base"})
	for _, out := range []string{"layout", "image.tar"} {
		to := filepath.Join(disk, out)
		_, progress, err := s.build("-o", to, "ctx")
		if err == nil || !strings.Contains(progress, "builder: -o "+to+": ") || !strings.Contains(progress, "no space left on device") {
			t.Errorf("%v\n%s", err, progress)
		}
	}
	if left, err := os.ReadDir(disk); err != nil || len(left) > 0 {
		t.Errorf("%q, %v", left, err)
	}
}

// Whatever a builder waits for, it ends when it is told to.
func TestWaitingBuildersCanBeInterrupted(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nCOPY f /\n", "f": "f"})
	out := filepath.Join(s.dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		t.Fatal(err)
	}
	cache, err := filepath.Glob(filepath.Join(s.cache, "ids-*", "lock"))
	if err != nil || len(cache) != 1 {
		t.Fatal(cache, err)
	}
	r, w, err := os.Pipe() // of a Dockerfile that does not come
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	pipe, err := os.Readlink(fmt.Sprint("/proc/self/fd/", r.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file string // for which it waits
		open int    // how often it has that open then
		args []string
	}{
		{cache[0], 1, nil},
		{filepath.Join(filepath.Dir(cache[0]), "tmp.lock"), 1, nil},
		{out, 1, []string{"-o", out}},
		{pipe, 2, []string{"-f", "/dev/fd/3"}},
	} {
		unlock := func() error { return nil }
		if c.file != pipe {
			f, err := os.Open(c.file)
			if err == nil {
				err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
			}
			if err != nil {
				t.Fatal(err)
			}
			unlock = f.Close
		}
		for _, how := range []struct {
			args []string
			code int
			want string
		}{{nil, 130, "builder: interrupted\n"}, {[]string{"-timeout", "300ms"}, 1, "it did not end within 300ms (--timeout)\n"}} {
			b := s.command(slices.Concat([]string{"build", "-cache", s.cache}, how.args, c.args, []string{"ctx"})...)
			var log bytes.Buffer
			b.Stderr, b.ExtraFiles = &log, []*os.File{r}
			if err := b.Start(); err != nil {
				t.Fatal(err)
			}
			kill := time.AfterFunc(testenv.Bound(10*time.Second), func() { b.Process.Kill() })
			if how.code == 130 {
				testenv.Eventually(t, "it waits for "+c.file, func() bool { return opened(b.Process.Pid, c.file) >= c.open })
				b.Process.Signal(unix.SIGINT)
			}
			b.Wait()
			kill.Stop()
			if b.ProcessState.ExitCode() != how.code || !strings.HasSuffix(log.String(), how.want) {
				t.Errorf("%s: %v\n%s", c.file, b.ProcessState, &log)
			}
		}
		if err := unlock(); err != nil {
			t.Fatal(err)
		}
	}
	if left := filesBelow(t, out); len(left) > 0 {
		t.Errorf("%q", left)
	}
	if left := s.leftovers(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}

// opened is how often a process has a file open.
func opened(pid int, file string) (n int) {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && to == file {
			n++
		}
	}
	return n
}

// What a builder reads of a context, it does not wait for.
func TestFIFOsInTheContext(t *testing.T) {
	s := newSite(t).withBase()
	ctx := s.files("ctx", map[string]string{"Dockerfile": "FROM base"})
	fifo := filepath.Join(ctx, "fifo")
	if err := unix.Mkfifo(fifo, 0o644); err != nil {
		t.Fatal(err)
	}
	s.fails("builder: "+fifo+" is no regular file", "-f", fifo, "ctx")
	s.files("rootfs", map[string]string{"Dockerfile": "FROM other"})
	s.fails("rootfs/Dockerfile:1: FROM other: "+fifo+" is no regular file", "-build-context", "other=rootfs:"+fifo, "rootfs")
	ignore := filepath.Join(ctx, ".dockerignore")
	if err := os.Rename(fifo, ignore); err != nil {
		t.Fatal(err)
	}
	s.fails("builder: ctx/.dockerignore is no regular file", "ctx")
	if err := os.Remove(ignore); err != nil {
		t.Fatal(err)
	}
	c := s.command("build", "-cache", s.cache, "-f", "/dev/stdin", "ctx") // as of <(...)
	c.Stdin = strings.NewReader("FROM base\nRUN echo from a pipe")
	if got, err := c.CombinedOutput(); err != nil || !strings.Contains(string(got), " from a pipe\n") {
		t.Errorf("%v: %s", err, got)
	}
}
