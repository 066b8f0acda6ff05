//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func init() { testenv.Program("demo", main) }

func TestMain(m *testing.M) {
	testenv.Begin()
	gonso.Init()
	os.Exit(m.Run())
}

// lacks skips, or fails if the run promised what is missing.
func lacks(t *testing.T, what string, why error) {
	t.Helper()
	testenv.Found(t, what, why)
}

func needUserns(t *testing.T) {
	t.Helper()
	s, err := gonso.Unshare(gonso.User)
	if err != nil {
		lacks(t, "userns", err)
	}
	s.Close()
}

func needOverlay(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EPERM) && strings.Contains(err.Error(), "refuses an overlay") {
		lacks(t, "overlay", err)
	}
}

// tree makes a directory with everything in it that can be hard to read.
func tree(t *testing.T) string {
	t.Helper()
	// What is special in mount options and in mountinfo.
	dir := filepath.Join(t.TempDir(), "a, b:c \\ \xff")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "a", "deep"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "a", "deep", "changed"), []byte("as on the host\n"), 0o644))
	for i := range 50 {
		must(os.WriteFile(filepath.Join(dir, fmt.Sprintf("file%d", i)), bytes.Repeat([]byte{byte(i)}, i*1000), 0o644))
	}
	must(os.Symlink("file1", filepath.Join(dir, "link")))
	must(os.Symlink("/nowhere", filepath.Join(dir, "dangling")))
	must(unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	must(os.WriteFile(filepath.Join(dir, "unreadable"), []byte("secret"), 0))
	must(os.Mkdir(filepath.Join(dir, "closed"), 0))
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "closed"), 0o700) })
	return dir
}

// snapshot is what is in a directory, with modes and contents.
func snapshot(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrPermission) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		if d.Type().IsRegular() && info.Mode().Perm() != 0 {
			if content, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		all = append(all, fmt.Sprintf("%s %v %x", path, info.Mode(), content))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (r *report) find(t *testing.T, work string) row {
	t.Helper()
	for _, row := range r.rows {
		if strings.HasPrefix(row.work, work) {
			return row
		}
	}
	t.Fatalf("no row %q", work)
	return row{}
}

func TestDemoLeavesTheHostAsItWas(t *testing.T) {
	needUserns(t)
	dir := tree(t)
	t.Setenv("TMPDIR", t.TempDir())
	before := snapshot(t, dir)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}

	r, err := run(t.Context(), dir, func() {
		if now, err := os.Hostname(); err != nil || now != name {
			t.Errorf("while the worker runs, the host is called %q (%v), not %q", now, err, name)
		}
	})
	needOverlay(t, err)
	if err != nil {
		t.Fatal(err)
	}

	if after := snapshot(t, dir); !slices.Equal(before, after) {
		t.Errorf("the directory was\n%q\nand is\n%q", before, after)
	}
	if after, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Count(string(after), "gonso-demo-") != strings.Count(string(mounts), "gonso-demo-") {
		t.Errorf("a mount of the demo is left (%v):\n%s", err, after)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) != 0 {
		t.Errorf("left in TMPDIR: %v %v", left, err)
	}
	for _, row := range r.rows {
		if row.backend != gonso.ProcessBackend {
			continue
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", row.pid)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("worker %d is left: %v", row.pid, err)
		}
	}
}

func TestDemoShowsWhatRanWhere(t *testing.T) {
	needUserns(t)
	dir := tree(t)
	r, err := run(t.Context(), dir, nil)
	needOverlay(t, err)
	if err != nil {
		t.Fatal(err)
	}
	cold, warm := r.find(t, "look: the first call"), r.find(t, "look: same worker")
	if cold.backend != gonso.ProcessBackend || cold.pid == os.Getpid() || cold.pid != warm.pid || len(cold.entered) != 4 {
		t.Errorf("cold %+v, warm %+v", cold, warm)
	}
	over := r.find(t, "overlay")
	for _, want := range []string{hostnameInside, "goroutines inside", "changed: "} {
		if !strings.Contains(over.result, want) {
			t.Errorf("%q is not in %q", want, over.result)
		}
	}
	if !strings.Contains(over.work, "a/deep/changed") {
		t.Errorf("changed another file: %q", over.work)
	}
	s, err := gonso.Unshare(gonso.Net)
	if err == nil {
		s.Close()
		if c := r.find(t, "closure, new net"); c.backend != gonso.ThreadBackend || c.pid != os.Getpid() || c.tid == c.pid || len(c.entered) != 1 {
			t.Errorf("privileged closure: %+v", c)
		}
		return
	}
	if c := r.find(t, "closure, home's net"); c.backend != gonso.ThreadBackend || c.tid == c.pid || len(c.entered) != 0 {
		t.Errorf("plain user's closure: %+v", c)
	}
	if c := r.find(t, "closure, new user"); !strings.Contains(c.result, strings.TrimPrefix(gonso.ErrNeedsProcess.Error(), "gonso: ")) || !strings.Contains(c.result, "gonso.Register") {
		t.Errorf("the refused closure does not say what to do: %+v", c)
	}
	if c := r.find(t, "function, new user"); c.backend != gonso.ProcessBackend || len(c.entered) != 2 {
		t.Errorf("plain user's function: %+v", c)
	}
}

// Files of ids that are not mapped cannot be read by root of a user namespace.
func TestDemoSkipsWhatCannotBeReadInside(t *testing.T) {
	needUserns(t)
	dir := tree(t)
	if err := os.Chown(filepath.Join(dir, "file7"), 33, 33); err != nil {
		if os.Geteuid() == 0 {
			t.Fatal(err)
		}
		lacks(t, "root", err)
	}
	if err := os.Chmod(filepath.Join(dir, "file7"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := run(t.Context(), dir, nil)
	needOverlay(t, err)
	if err != nil {
		t.Fatal(err)
	}
	host, over := r.find(t, "hash on the host, before"), r.find(t, "overlay")
	if !strings.Contains(host.result, "1 skipped") || !strings.Contains(over.result, "2 skipped") {
		t.Errorf("host %q, inside %q", host.result, over.result)
	}
}

// A demo that cannot fail would show nothing.
func TestDemoNoticesAChangedHost(t *testing.T) {
	needUserns(t)
	dir := tree(t)
	_, err := run(t.Context(), dir, func() {
		if err := os.WriteFile(filepath.Join(dir, "new"), []byte("made on the host"), 0o644); err != nil {
			t.Error(err)
		}
	})
	needOverlay(t, err)
	if err == nil || !strings.Contains(err.Error(), "has changed") {
		t.Errorf("error %v", err)
	}
}

func TestDemoRefusesWhatIsNoDirectoryOfFiles(t *testing.T) {
	needUserns(t)
	t.Setenv("TMPDIR", t.TempDir())
	empty, file, links := t.TempDir(), filepath.Join(t.TempDir(), "file"), t.TempDir()
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("x", filepath.Join(links, "y")); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]string{
		filepath.Join(empty, "gone"): "no such file",
		file:                         "is not a directory",
		"/":                          "name another directory",
		empty:                        "no regular file",
		links:                        "no regular file",
	} {
		if _, err := run(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", dir, err, want)
		}
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) != 0 {
		t.Errorf("left in TMPDIR: %v %v", left, err)
	}
}

func TestDemoStopsWhenInterrupted(t *testing.T) {
	needUserns(t)
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	_, err := run(ctx, tree(t), cancel)
	needOverlay(t, err)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) != 0 {
		t.Errorf("left in TMPDIR: %v %v", left, err)
	}
}

func TestExitStatus(t *testing.T) {
	needUserns(t)
	good := tree(t)
	for _, tc := range []struct {
		args   []string
		status int
		stderr string
	}{
		{[]string{good}, 0, ""},
		{[]string{filepath.Join(good, "gone")}, 1, "FAILED: "},
		{[]string{"a", "b"}, 2, "usage: demo [DIR]"},
	} {
		cmd := testenv.Command(t, "demo", tc.args...)
		var stdout, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		err := cmd.Run()
		if tc.status == 0 && strings.Contains(stderr.String(), "refuses an overlay") {
			lacks(t, "overlay", errors.New(stderr.String()))
		}
		if got := cmd.ProcessState.ExitCode(); got != tc.status || !strings.Contains(stderr.String(), tc.stderr) {
			t.Errorf("%q: status %d (%v)\n%s%s", tc.args, got, err, &stdout, &stderr)
		}
		if tc.status == 0 && !strings.Contains(stdout.String(), "namespaces entered") {
			t.Errorf("no table:\n%s", &stdout)
		}
	}
}

func TestDigestShowsEveryChange(t *testing.T) {
	dir := tree(t)
	digest := func() string {
		t.Helper()
		tr, err := hashTree(t.Context(), dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		return tr.Digest
	}
	last := digest()
	if again := digest(); again != last {
		t.Fatalf("the same directory has digests %s and %s", last, again)
	}
	for _, change := range []struct {
		name string
		do   func() error
	}{
		{"content", func() error { return os.WriteFile(filepath.Join(dir, "file3"), []byte("x"), 0o644) }},
		{"name", func() error { return os.Rename(filepath.Join(dir, "file4"), filepath.Join(dir, "file4.old")) }},
		{"link", func() error {
			return errors.Join(os.Remove(filepath.Join(dir, "link")), os.Symlink("file2", filepath.Join(dir, "link")))
		}},
		{"removal", func() error { return os.Remove(filepath.Join(dir, "file5")) }},
	} {
		if err := change.do(); err != nil {
			t.Fatal(err)
		}
		if now := digest(); now == last {
			t.Errorf("%s: the digest stayed the same", change.name)
		} else {
			last = now
		}
	}
}

func TestTableIsAligned(t *testing.T) {
	r := &report{rows: []row{
		{work: "a long name of what is done, and " + strings.Repeat("x", 100), backend: gonso.ThreadBackend, pid: 4194304, tid: 4194303,
			entered: []string{"net:[4294967295]", "cgroup:[429496729]"}, why: strings.Repeat("ä ", 60), result: "one\ntwo", took: 1},
		{},
	}}
	var b bytes.Buffer
	r.print(&b)
	for line := range strings.Lines(b.String()) {
		runes := []rune(strings.TrimSuffix(line, "\n"))
		at := 0
		for _, c := range columns[:len(columns)-1] {
			at += c.width + 2
			if at < len(runes) && (runes[at-1] != ' ' || runes[at-2] != ' ') {
				t.Errorf("the column before %d runs over: %q", at, line)
			}
		}
		if utf8.RuneCountInString(line) > 150 {
			t.Errorf("too wide: %q", line)
		}
	}
	if text := strings.Join(strings.Fields(b.String()), ""); !strings.Contains(text, "4194303") || strings.Count(text, "x") < 100 {
		t.Errorf("something was lost:\n%s", &b)
	}
}
