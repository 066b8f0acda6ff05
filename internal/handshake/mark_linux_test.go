package handshake

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Begin()
	os.Exit(m.Run())
}

func init() {
	testenv.Program("tells what it is", func() { fmt.Println(IsWorker(), EntersMount()) })
}

// opencontainers/runc#1453: an init function that changes os.Args cannot make a worker something
// else. Those of packages with lesser paths run before this one's.
func TestArgumentsCannotHideAWorker(t *testing.T) {
	for _, tt := range []struct {
		name string
		mark func(socket *os.File)
		want string
	}{
		{"no socket", nil, "false false"},
		{"somebody's socket", func(*os.File) {}, "false false"},
		{"worker", func(s *os.File) { Mark(s, false) }, "true false"},
		{"worker that enters a mount namespace", func(s *os.File) { Mark(s, true) }, "true true"},
	} {
		if got, err := whatItIs(t, "renamed", tt.mark); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

// whatItIs starts this program by a name, with a socket that mark has marked.
func whatItIs(t *testing.T, name string, mark func(socket *os.File)) (string, error) {
	t.Helper()
	c := testenv.Command(t, "tells what it is")
	if mark != nil {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
		defer ours.Close()
		defer theirs.Close()
		mark(theirs)
		c.ExtraFiles = []*os.File{theirs}
	}
	c.Args[0] = name
	out, err := c.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// A program may have this module twice, by two paths. A process with the name and the mark of the
// other copy's workers is no worker of this one.
func TestCopyOfTheModuleCannotTakeTheOthersWorker(t *testing.T) {
	if Name != "gonso-worker" {
		t.Errorf("workers of %q are called %q", Module, Name)
	}
	for _, other := range []string{"example.com/fork/gonso", Module + "/v2"} {
		for name, entersMount := range map[string]bool{"worker": false, "worker that enters a mount namespace": true} {
			got, err := whatItIs(t, nameOf(other), func(s *os.File) {
				worker, mount := marksOf(other)
				defer func(w, m int) { markWorker, markMount = w, m }(markWorker, markMount)
				markWorker, markMount = worker, mount
				Mark(s, entersMount)
			})
			if err != nil || got != "false false" {
				t.Errorf("%s of %s: %q, %v", name, other, got, err)
			}
		}
	}
}
