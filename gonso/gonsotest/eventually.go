package gonsotest

import (
	"testing"
	"time"
)

// eventually bounds Eventually, with room for a machine that is busy.
var eventually = 20 * time.Second

// Eventually waits until ok returns true. It fails the test after 20 seconds, and the message has
// the text of what. It is for work that the kernel does after a call has returned. For example, the
// kernel removes a net namespace and its devices some time after the last Set, process and mount
// has released it (cleanup_net in net/core/net_namespace.c). See [gonso.Set.Close].
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
