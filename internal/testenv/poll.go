package testenv

import (
	"os"
	"testing"
	"time"
)

// Emulated says that the kernel runs on an emulated processor, where everything takes ten times as
// long or more. See integration/scripts/guest-init.sh.
var Emulated = os.Getenv("GONSO_TEST_GUEST") != ""

// Limit bounds every wait for something that ends by itself.
var Limit = map[bool]time.Duration{false: 5 * time.Second, true: time.Minute}[Emulated]

// Poll calls ok until it returns true, at most for Limit.
func Poll(ok func() bool) bool { return pollFor(Limit, ok) }

func pollFor(limit time.Duration, ok func() bool) bool {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return ok()
		}
	}
	return true
}

// Eventually fails the test if ok stays false for Limit.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !Poll(ok) {
		t.Fatalf("not within %v: %s", Limit, what)
	}
}
