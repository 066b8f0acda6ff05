package embedded

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m, gonso.Init) }

var dieSoon = gonso.Register("embedded.dieSoon", func(context.Context, []byte) (struct{}, error) {
	time.AfterFunc(time.Millisecond, func() { os.Exit(7) })
	return struct{}{}, nil
})

// A worker that dies while something is sent to it is no reason for SIGPIPE, which such programs may
// take for the end of their standard output.
func TestDyingWorkerCannotSignalItsProgram(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGPIPE)
	defer signal.Stop(signals)
	s, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	large := make([]byte, 8<<20)
	for range 5 {
		var err error
		for err == nil {
			_, err = dieSoon.Do(t.Context(), s, large)
		}
		if !errors.Is(err, gonso.ErrWorkerDied) {
			t.Error(err)
		}
	}
	select {
	case got := <-signals:
		t.Errorf("got %v", got)
	default:
	}
}

// In a program of another language SIGPIPE ends the program.
func TestDyingWorkerCannotEndAProgramThatLoadsGo(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	for what, tool := range map[string]string{"gcc": "gcc", "go": "go"} {
		_, err := exec.LookPath(tool)
		testenv.Found(t, what, err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "host")
	for _, args := range [][]string{
		{"go", "build", "-buildmode=c-shared", "-o", filepath.Join(dir, "library.so"), "./testdata/library"},
		{"gcc", "-o", program, "testdata/host.c", filepath.Join(dir, "library.so"), "-Wl,-rpath," + dir},
	} {
		c := exec.Command(args[0], args[1:]...)
		c.Env = append(os.Environ(), "CGO_ENABLED=1", "GOFLAGS=")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Bound(time.Minute))
	defer cancel()
	out, err := exec.CommandContext(ctx, program).Output()
	if err != nil || string(out) != "survived\n" {
		t.Errorf("%q, %v", out, err)
	}
}
