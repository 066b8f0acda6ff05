package sys

import "runtime"

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
