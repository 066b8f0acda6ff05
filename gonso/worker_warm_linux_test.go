package gonso_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func TestWarmStartsTheWorkerOfTheNextCall(t *testing.T) {
	s := newSet(t, gonso.User|gonso.UTS)
	before := childrenOf(t)
	if err := s.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	var started []int
	for pid := range childrenOf(t) {
		if !before[pid] {
			started = append(started, pid)
		}
	}
	if err := s.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pid := call(t, workerPID, s, struct{}{}); len(started) != 1 || started[0] != pid {
		t.Errorf("Warm started %v, the call ran in %d", started, pid)
	}
}

func TestWarmErrors(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	var zero gonso.Set
	if err := zero.Warm(nil); !errors.Is(err, os.ErrInvalid) { //nolint:staticcheck // it is what is tested
		t.Errorf("nil context: %v", err)
	}
	if err := (*gonso.Set)(nil).Warm(t.Context()); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("nil Set: %v", err)
	}
	testenv.Need(t, testenv.Process)
	if err := zero.Warm(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled context: %v", err)
	}
	pid, err := gonso.Current(gonso.PID)
	if err != nil {
		t.Fatal(err)
	}
	defer pid.Close()
	if err := pid.Warm(t.Context()); err != nil {
		t.Errorf("home: %v", err)
	}
	zero.Close()
	if err := zero.Warm(t.Context()); !errors.Is(err, gonso.ErrClosed) {
		t.Errorf("closed Set: %v", err)
	}
}

// childrenOf gives the ids of this process's children.
func childrenOf(t testing.TB) map[int]bool {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[int]bool)
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		// 12 (comm) S parent ...; comm may have spaces
		if _, rest, _ := strings.Cut(string(b), ") "); strings.HasPrefix(rest[min(2, len(rest)):], strconv.Itoa(os.Getpid())+" ") {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			all[pid] = true
		}
	}
	return all
}
