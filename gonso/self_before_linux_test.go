package gonso_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// What a function of the program's has done before exec holds for what it becomes, in the same process,
// as the kernel shows it from outside.
func TestSelfBecomesAProgram(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("busybox"))
	testenv.Leaks(t)
	path, err := testenv.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, types := range []gonso.Type{gonso.User | gonso.Mount, gonso.User | gonso.Mount | gonso.PID} {
		root := t.TempDir()
		if err := os.WriteFile(filepath.Join(root, "busybox"), program, 0o755); err != nil {
			t.Fatal(err)
		}
		c := newSet(t, types).Self(context.Background())
		c.Args, c.Umask = []string{"example-container", root, "/busybox", "sh", "-c", "echo ready; read x"}, new(0o71)
		in, err := c.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		ready := make([]byte, 6)
		if _, err := io.ReadFull(out, ready); err != nil {
			t.Errorf("%q, %v", ready, err)
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.Process.Pid))
		for _, want := range []string{"Name:\tbusybox", "NoNewPrivs:\t1", "Seccomp:\t2", "Umask:\t0071"} {
			if !strings.Contains(string(status), want+"\n") {
				t.Errorf("%v: no %q in %s, %v", types, want, status, err)
			}
		}
		if dir, err := os.ReadDir(fmt.Sprintf("/proc/%d/root", c.Process.Pid)); os.Getuid() == 0 && (err != nil || len(dir) != 1 || dir[0].Name() != "busybox") {
			t.Errorf("%v: root %v, %v", types, dir, err)
		}
		in.Close()
		if err := c.Wait(); err == nil {
			t.Errorf("%v: read(1) ended well", types)
		}
	}
}
