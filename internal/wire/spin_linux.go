package wire

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// A spinner looks for the next bytes again and again for a while. Then it sleeps until bytes come.
// To be woken on another processor takes ten times as long as a short call. It spins only if frames
// come close together. Between two looks, it gives its processor to any other thread that wants it.
type spinner struct {
	budget time.Duration // 0 is no spinning
	last   time.Time     // when bytes came
	hot    bool          // little time had passed since the bytes before
}

// together is the longest time between two frames that still makes the spinner spin.
const together = MaxSpin

// SetSpin makes Read look for a frame for that long before it sleeps, if more than one processor
// can be used. It is called before the first Read.
func (c *Conn) SetSpin(budget time.Duration) {
	var cpus unix.CPUSet
	if budget <= 0 || runtime.GOMAXPROCS(0) < 2 || unix.SchedGetaffinity(0, &cpus) == nil && cpus.Count() < 2 {
		return
	}
	c.readOp.spin.budget = min(budget, MaxSpin)
}

// came notes that bytes have come.
func (s *spinner) came() {
	if s.budget > 0 {
		now := time.Now()
		s.hot, s.last = now.Sub(s.last) < together, now
	}
}

// until calls look until look finds something, or the budget is used up.
func (s *spinner) until(look func() (found bool)) (found bool) {
	if !s.hot {
		return false
	}
	for begin := time.Now(); time.Since(begin) < s.budget; {
		_, _, _ = unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0)
		if look() {
			return true
		}
	}
	s.hot = false
	return false
}
