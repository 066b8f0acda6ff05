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

// opencontainers/runc#1453: an init function that changes os.Args cannot make a worker something else.
// Those of packages with lesser paths run before this one's.
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
		c := testenv.Command(t, "tells what it is")
		if tt.mark != nil {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			ours, theirs := os.NewFile(uintptr(fds[0]), "ours"), os.NewFile(uintptr(fds[1]), "theirs")
			defer ours.Close()
			defer theirs.Close()
			tt.mark(theirs)
			c.ExtraFiles = []*os.File{theirs}
		}
		c.Args[0] = "renamed"
		out, err := c.CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}
