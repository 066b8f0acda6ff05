package sys

import (
	"sync"
	"time"
)

// Coarse bounds waits that are nearly always short. A timer for each wait would cost more than the
// work that is waited for: setting the timer that expires next wakes the thread that polls the
// network (runtime.wakeNetPoller). So all waits at one time share one timer.
type Coarse struct {
	Period time.Duration

	mu   sync.Mutex
	next chan struct{} // nil if nobody has asked since the last one
}

// Tick returns a channel that is closed within one period. So waiting for n ticks in turn takes more than
// n-1 periods and at most n.
func (c *Coarse) Tick() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		next := make(chan struct{})
		c.next = next
		time.AfterFunc(c.Period, func() {
			c.mu.Lock()
			c.next = nil
			c.mu.Unlock()
			close(next)
		})
	}
	return c.next
}
