package procfs

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestIDOfPIDFD(t *testing.T) {
	for text, want := range map[string]struct {
		pid int
		err error
		say string
	}{
		"pos:\t0\nflags:\t02000002\nmnt_id:\t15\nPid:\t77\nNSpid:\t77\t1\n": {77, nil, ""},
		"Pid:\t-1\nNSpid:\t-1\n": {0, unix.ESRCH, ""},
		"Pid:\t0\nNSpid:\t0\n":   {0, unix.ESRCH, "no id"},
		"pos:\t0\nNSpid:\t7\n":   {0, os.ErrInvalid, "not a pidfd"},
		"":                       {0, os.ErrInvalid, "not a pidfd"},
		"Pid:\tx\n":              {0, strconv.ErrSyntax, ""},
	} {
		pid, err := parseID(text)
		if pid != want.pid || !errors.Is(err, want.err) || err != nil && !strings.Contains(err.Error(), want.say) {
			t.Errorf("%q: %d, %v", text, pid, err)
		}
	}
}

// A process may also die in between: what was opened meanwhile counts for nothing.
func TestProcessThatDiesWhileItIsOpened(t *testing.T) {
	calls := 0
	d, err := openWhile(func() (int, error) {
		if calls++; calls == 1 {
			return os.Getpid(), nil
		}
		return 0, unix.ESRCH
	})
	if d != nil || !errors.Is(err, unix.ESRCH) || calls != 2 {
		t.Errorf("%v, %v, %d calls", d, err, calls)
	}
}
