package reexec

import (
	"runtime"
	"sync"
)

// Workers are started on a thread that lasts as long as this program. What a worker is, it
// gets SIGKILL when the thread that has started it ends (PR_SET_PDEATHSIG), however this
// program ends, and whatever the worker waits for or is stopped by. Any other thread may
// end while the program goes on: gonso ends threads itself.
var lasting struct {
	sync.Once
	work chan func()
}

// onLastingThread runs f there.
func onLastingThread(f func()) {
	lasting.Do(func() {
		lasting.work = make(chan func())
		go lastingThread()
	})
	done := make(chan struct{})
	lasting.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

func lastingThread() {
	runtime.LockOSThread()
	for f := range lasting.work {
		f()
	}
}
