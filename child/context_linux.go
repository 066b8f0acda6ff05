package child

import (
	"context"
	"sync"
	"time"
)

// callContext is the context of a call. It ends when the parent reports the end of the caller's
// context, and with the same error. It has no clock of its own: the caller's context may end before
// its deadline, and clocks may be set.
type callContext struct {
	deadline time.Time // the zero time is no deadline
	done     chan struct{}

	mu    sync.Mutex
	err   error
	after map[*func()]struct{} // functions to call at the end
}

func newContext(deadline time.Time) *callContext {
	if !deadline.IsZero() {
		// It has a monotonic reading, so setting the clock does not move it. Monotonic readings end
		// after 292 years.
		now := time.Now()
		if d := now.Add(deadline.Sub(now.Round(0))); d.Equal(deadline) {
			deadline = d
		}
	}
	return &callContext{deadline: deadline, done: make(chan struct{})}
}

// end ends the context, unless it has ended.
func (c *callContext) end(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = err
	close(c.done)
	for f := range c.after {
		go (*f)()
	}
	c.after = nil
}

func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }
func (c *callContext) Done() <-chan struct{}       { return c.done }
func (c *callContext) Value(any) any               { return nil }

func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// AfterFunc is used by package context. Without it, each derived context would have its own
// goroutine.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	if c.after == nil {
		c.after = make(map[*func()]struct{})
	}
	c.after[&f] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, pending := c.after[&f]
		delete(c.after, &f)
		return pending
	}
}

var _ context.Context = (*callContext)(nil)
