package sys

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// lockDepth is how often a thread is locked. A function may call runtime.UnlockOSThread without
// need: one more lock keeps its thread from being set free in foreign namespaces. If a function
// leaves its thread locked, the thread stays locked after UnlockThread, and ends.
const lockDepth = 4

// LockThread locks the calling goroutine's thread for somebody else's function.
func LockThread() {
	for range lockDepth {
		runtime.LockOSThread()
	}
}

// UnlockThread undoes LockThread.
func UnlockThread() {
	for range lockDepth {
		runtime.UnlockOSThread()
	}
}

// mainTID is the id of the main thread: that of the process.
var mainTID = os.Getpid()

// OnMainThread reports whether the calling goroutine is on the main thread. The main thread cannot
// end: the Go runtime keeps it, in whatever state it is, when its goroutine ends locked. And
// everybody reads /proc/PID, which shows the main thread. So work that ends its thread, or moves it,
// calls LockThread, and if it is on the main thread it calls GoElsewhere and returns.
func OnMainThread() bool { return unix.Gettid() == mainTID }

// GoElsewhere starts f in a new goroutine on another thread than the calling one, and undoes
// LockThread. f locks its thread and looks again: it may have been moved meanwhile.
func GoElsewhere(f func()) {
	started := make(chan struct{})
	go func() {
		close(started)
		f()
	}()
	<-started // until then, the caller keeps its thread
	UnlockThread()
}
