package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { Main(m, nil) }

// What is there to be found is found while it is there, and not afterwards.
func TestLeaksAreSeen(t *testing.T) {
	Need(t, Tool("sleep"))
	before := take()
	expect := func(what string, end func()) {
		t.Helper()
		left := before.left(0)
		if len(left) != 1 || !strings.Contains(left[0], what) {
			t.Errorf("expected one leak with %q, got %q", what, left)
		}
		end()
		if left := before.left(Limit); len(left) > 0 {
			t.Errorf("after the end of %q: %q", what, left)
		}
	}

	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	expect("descriptor(s) of /dev/null", func() { f.Close() })

	stop := make(chan struct{})
	go waitForTest(stop)
	expect("waitForTest", func() { close(stop) })

	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	pidfd := slices.ContainsFunc(before.left(0), func(l string) bool { return strings.Contains(l, "pidfd") })
	c.Process.Kill()
	Eventually(t, "the child is a zombie", func() bool {
		return slices.ContainsFunc(before.left(0), func(l string) bool {
			return strings.HasPrefix(l, "child process") && strings.HasSuffix(l, "sleep, state Z")
		})
	})
	t.Logf("os/exec holds a pidfd: %v", pidfd)
	c.Wait()
	if left := before.left(Limit); len(left) > 0 {
		t.Errorf("after the child's end: %q", left)
	}

	Need(t, Root)
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	expect(filepath.Base(dir), func() { unix.Unmount(dir, 0) })

	stop, moved := make(chan struct{}), make(chan error)
	go OnThread(func() {
		moved <- unix.Unshare(unix.CLONE_NEWUTS)
		waitForTest(stop)
	})
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	left := before.left(0)
	if !slices.ContainsFunc(left, func(l string) bool { return strings.Contains(l, " in uts:[") }) {
		t.Errorf("the thread in another namespace was not seen: %q", left)
	}
	close(stop)
	if left := before.left(Limit); len(left) > 0 {
		t.Errorf("after the thread's end: %q", left)
	}
}

func waitForTest(stop chan struct{}) { <-stop }

func TestNeedOfPromises(t *testing.T) {
	absent := Req{"something", []string{"something"}, func() string { return "there is none" }}
	for promise, want := range map[string]string{
		"":                "skip: needs something: there is none",
		"else":            "skip: needs something: there is none",
		"root,something":  "needs something, which GONSO_TEST_REQUIRE promises: there is none",
		"somethingbigger": "skip: needs something: there is none",
	} {
		t.Setenv("GONSO_TEST_REQUIRE", promise)
		r := &recorder{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			Need(r, absent)
		}()
		<-done
		if r.said != want || r.failed != strings.HasPrefix(want, "needs") {
			t.Errorf("with %q promised: %q, failed %v", promise, r.said, r.failed)
		}
	}
}
