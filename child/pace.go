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

	// Answers of other calls may wait for a function whose last call took no longer than quickCall.
	quickCall = 20 * time.Microsecond
)

// pace remembers how long the calls of a function take.
type pace struct {
	slow  atomic.Int32 // for how many calls it is slow
	quick atomic.Bool  // the last one was quick
}

// took notes the time of a call.
func (p *pace) took(d time.Duration) {
	if d > slowCall {
		p.slow.Store(slowCalls)
	}
	if quick := d <= quickCall; quick != p.quick.Load() {
		p.quick.Store(quick)
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

func (p *pace) isQuick() bool { return p.quick.Load() }
