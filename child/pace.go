package child

import (
	"sync/atomic"
	"time"
)

const (
	// If a call of a function took longer than slowCall, another goroutine reads during its next
	// slowCalls calls. For a slow function nothing is gained otherwise, and several of its calls
	// can run at once.
	slowCall  = 200 * time.Microsecond
	slowCalls = 64
)

// pace remembers how long the calls of a function take.
type pace struct{ slow atomic.Int32 } // for how many calls it is slow

// took notes the time of a call.
func (p *pace) took(d time.Duration) {
	if d > slowCall {
		p.slow.Store(slowCalls)
	}
}

// isSlow is asked once for each call.
func (p *pace) isSlow() bool {
	slow := p.slow.Load() > 0
	if slow {
		p.slow.Add(-1)
	}
	return slow
}
