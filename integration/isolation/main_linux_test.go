package isolation

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func TestMain(m *testing.M) {
	testenv.Begin()
	gonso.Init()
	code := m.Run()
	if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); code == 0 && err != unix.ECHILD {
		fmt.Fprintf(os.Stderr, "leaked child: wait4 gives %d, %v\n", pid, err)
		code = 1
	}
	os.Exit(code)
}

// need skips, or fails if this run promises it, where what is missing.
func need(t testing.TB, what string, missing error) {
	t.Helper()
	testenv.Found(t, what, missing)
}

func needRoot(t testing.TB) {
	t.Helper()
	if uid := os.Geteuid(); uid != 0 {
		need(t, "root", fmt.Errorf("uid is %d", uid))
	}
}

func needTool(t testing.TB, what, name string) {
	t.Helper()
	_, err := exec.LookPath(name)
	need(t, what, err)
}

func needUserNS(t testing.TB) {
	t.Helper()
	s, err := gonso.Unshare(gonso.User)
	if errors.Is(err, errors.ErrUnsupported) {
		need(t, "process", err)
	}
	need(t, "userns", err)
	s.Close()
}
