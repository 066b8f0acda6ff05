package gonsotest

import (
	"testing"
	"time"
)

// eventually bounds Eventually, with room for a machine that is busy.
var eventually = 20 * time.Second

// Eventually waits until ok returns true, and fails the test if that is not within 20 seconds; what
// says in the failure what was waited for. It is for what the kernel does later than a call
// returns: when the last Set, process and mount that had a net namespace are gone, the kernel ends it, and
// its devices with it, in its own time (cleanup_net in net/core/net_namespace.c). See
// [gonso.Set.Close].
//
// It calls ok in the goroutine of the test, again and again with a few milliseconds in between.
func Eventually(tb testing.TB, what string, ok func() bool) {
	tb.Helper()
	limit := time.NewTimer(eventually)
	defer limit.Stop()
	again := time.NewTicker(2 * time.Millisecond)
	defer again.Stop()
	for !ok() {
		select {
		case <-again.C:
		case <-limit.C:
			if !ok() {
				tb.Fatalf("gonsotest: not within %v: %s", eventually, what)
			}
			return
		}
	}
}
