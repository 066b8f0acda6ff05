package reexec

import (
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// apart knows whether this program has one processor and the worker has another one. Then both can
// work at the same time, but only if requests go out one by one: requests of a few callers that
// wait for each other make both sides wait for each other, too (4 callers: 25 µs a call instead of
// 15). On a processor for both, or where each side has several, it is the other way round.
type apart struct {
	asked atomic.Uint32
	is    atomic.Bool
}

const (
	// fewCalls in flight keep both sides busy only if they go out one by one.
	fewCalls = 8
	// Somebody may move the worker, so apart looks again once in so many times.
	apartLook = 256
)

// ask is asked for every request.
func (a *apart) ask(worker int) bool {
	if a.asked.Add(1)%apartLook == 1 {
		var ours, theirs unix.CPUSet
		known := unix.SchedGetaffinity(0, &ours) == nil && unix.SchedGetaffinity(worker, &theirs) == nil
		a.is.Store(known && areApart(runtime.GOMAXPROCS(0), &ours, &theirs))
	}
	return a.is.Load()
}

func areApart(procs int, ours, theirs *unix.CPUSet) bool {
	return procs == 1 && (*ours != *theirs || ours.Count() > 1)
}
