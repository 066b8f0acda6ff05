package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func init() { testenv.Program("builder", main) }

func TestMain(m *testing.M) { testenv.Main(m, gonso.Init) }

// A site is a directory with a cache of its own, and what the builder is run in.
type site struct {
	*testing.T
	dir, cache string
	env        []string
}

func newSite(t *testing.T) *site {
	t.Helper()
	testenv.Need(t, testenv.UserNS, testenv.Tool("busybox"))
	if os.Geteuid() != 0 {
		testenv.Need(t, testenv.SubIDs)
	}
	dir, err := os.MkdirTemp("", "builder-")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{T: t, dir: dir, cache: filepath.Join(dir, "cache")}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := os.Stat(s.cache); err == nil {
			if out, err := s.command("prune", "-cache", s.cache).CombinedOutput(); err != nil {
				t.Errorf("prune: %v\n%s", err, out)
			}
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *site) command(args ...string) *exec.Cmd {
	s.Helper()
	c := testenv.Command(s.T, "builder", args...)
	c.Dir = s.dir
	c.Env = append(c.Env, s.env...)
	return c
}

// build runs build with the site's cache and returns what it prints.
func (s *site) build(args ...string) (digest, progress string, err error) {
	s.Helper()
	var out, log bytes.Buffer
	c := s.command(append([]string{"build", "-cache", s.cache}, args...)...)
	c.Stdout, c.Stderr = &out, &log
	err = c.Run()
	return strings.TrimSpace(out.String()), log.String(), err
}

func (s *site) mustBuild(args ...string) (digest, progress string) {
	s.Helper()
	digest, progress, err := s.build(args...)
	if err != nil {
		s.Fatalf("build %v: %v\n%s", args, err, progress)
	}
	return digest, progress
}

// withBase builds testdata/base as the image "base".
func (s *site) withBase() *site {
	s.Helper()
	dir := s.context("base")
	busybox, err := testenv.LookPath("busybox")
	if err != nil {
		s.Fatal(err)
	}
	b, err := os.ReadFile(busybox)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "busybox"), b, 0o755)
	}
	if err != nil {
		s.Fatal(err)
	}
	s.mustBuild("-t", "base", dir)
	return s
}

// context copies a directory of testdata.
func (s *site) context(name string) string {
	s.Helper()
	dir := filepath.Join(s.dir, name)
	err := filepath.WalkDir(filepath.Join("testdata", name), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(filepath.Join("testdata", name), path)
		to := filepath.Join(dir, rel)
		switch {
		case d.IsDir():
			return os.MkdirAll(to, 0o755)
		case d.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(link, to)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, b, 0o644)
	})
	if err != nil {
		s.Fatal(err)
	}
	return dir
}

// files makes a directory with files; names that end with / are directories, contents that begin with -> links.
func (s *site) files(name string, files map[string]string) string {
	s.Helper()
	dir := filepath.Join(s.dir, name)
	for name, text := range files {
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if to, ok := strings.CutPrefix(text, "->"); err == nil && ok {
			err = os.Symlink(to, path)
		} else if err == nil {
			err = os.WriteFile(path, []byte(text), 0o644)
		}
		if err != nil {
			s.Fatal(err)
		}
	}
	return dir
}

// run runs an image, and returns what it prints.
func (s *site) run(image string, args ...string) (string, error) {
	s.Helper()
	out, err := s.command(append([]string{"run", "-cache", s.cache, image}, args...)...).CombinedOutput()
	return string(out), err
}

// tools skips the test where others' programs are missing.
func tools(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		testenv.Need(t, testenv.Tool(name))
	}
}

func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		text := ""
		if h.Typeflag == 0 || h.Typeflag == tar.TypeReg {
			text = h.Uname // what the file holds
			h.Size, h.Typeflag = int64(len(text)), tar.TypeReg
		}
		h.Uname = ""
		if h.Mode == 0 && h.Typeflag != tar.TypeXGlobalHeader {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// leftovers are what a cache holds that a builder that has ended should not have left.
func (s *site) leftovers() (left []string) {
	dirs, _ := filepath.Glob(filepath.Join(s.cache, "ids-*", "tmp", "*"))
	left = append(left, dirs...)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		s.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, s.dir) {
			left = append(left, line)
		}
	}
	return append(left, s.processes()...)
}

// processes are those whose command line or root names the site: of the builder, and of what it runs.
func (s *site) processes() (found []string) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		env, _ := os.ReadFile(dir + "/environ")
		args, _ := os.ReadFile(dir + "/cmdline")
		if bytes.Contains(args, []byte(s.dir)) || bytes.Contains(env, []byte("SITE="+s.dir)) {
			found = append(found, dir+" "+string(bytes.ReplaceAll(args, []byte{0}, []byte{' '})))
		}
	}
	return found
}

// exists is for paths whose directories are of other users.
func exists(path string) bool {
	var st unix.Stat_t
	return !errors.Is(unix.Lstat(path, &st), unix.ENOENT)
}

// quiet is for servers that would write to the log.
var quiet = log.New(io.Discard, "", 0)

// unixCredential makes a program another user's.
var unixCredential = syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
