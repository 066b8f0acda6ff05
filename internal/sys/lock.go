package sys

import "runtime"

// lockDepth is how often a thread is locked, so that a stray
// runtime.UnlockOSThread in a function does not set one free that is in foreign
// namespaces. A function that leaves its thread locked keeps it locked after
// UnlockThread, and the thread ends.
const lockDepth = 4

// LockThread locks the calling goroutine's thread for a function of somebody else's.
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
