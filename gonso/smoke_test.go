package gonso

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

var smokePID = Register("smoke.pid", func(context.Context, struct{}) (int, error) { return os.Getpid(), nil })

// TestSmoke shows in little that both backends work in the binary it is in; it
// is run in binaries of every build mode.
func TestSmoke(t *testing.T) {
	testenv.Need(t, testenv.Process)
	s, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ran := false
	if err := s.Do(true, func() bool { ran = true; return true }); err != nil || !ran {
		t.Errorf("closure: %v, ran %v", err, ran)
	}
	if pid, err := smokePID.Do(context.Background(), s, struct{}{}, InProcess()); err != nil || pid == os.Getpid() {
		t.Errorf("function in a process: pid %d, %v", pid, err)
	}

	testenv.Need(t, testenv.UserNS)
	u, err := Unshare(User | Net)
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	if err := u.Do(true, func() bool { return true }); !errors.Is(err, ErrNeedsProcess) {
		t.Errorf("closure in a user namespace: %v", err)
	}
	if pid, err := smokePID.Do(context.Background(), u, struct{}{}); err != nil || pid == os.Getpid() {
		t.Errorf("function in a user namespace: pid %d, %v", pid, err)
	}
}
