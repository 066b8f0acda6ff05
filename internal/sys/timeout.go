package sys

import (
	"context"
	"sync"
	"time"
)

// WithTimeout is context.WithTimeoutCause, but its timer starts when somebody waits for the
// context. If no thread of the Go runtime waits for timers, a new timer wakes one. That would be
// expensive for work that usually takes a fraction of a millisecond.
func WithTimeout(parent context.Context, limit time.Duration, cause error) (context.Context, context.CancelFunc) {
	t := &timeout{parent: parent, deadline: time.Now().Add(limit), cause: cause}
	return t, t.end
}

type timeout struct {
	parent   context.Context
	deadline time.Time
	cause    error

	mu     sync.Mutex
	ctx    context.Context // set once somebody waits for it
	cancel context.CancelFunc
	ended  bool
}

// wait returns the context that somebody waits for.
func (t *timeout) wait() context.Context {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx == nil {
		t.ctx, t.cancel = context.WithDeadlineCause(t.parent, t.deadline, t.cause)
		if t.ended {
			t.cancel()
		}
	}
	return t.ctx
}

func (t *timeout) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	if t.cancel != nil {
		t.cancel()
	}
}

func (t *timeout) Deadline() (time.Time, bool) {
	if d, ok := t.parent.Deadline(); ok && d.Before(t.deadline) {
		return d, true
	}
	return t.deadline, true
}

func (t *timeout) Done() <-chan struct{} { return t.wait().Done() }

func (t *timeout) Err() error {
	t.mu.Lock()
	waits := t.ctx != nil || t.ended
	t.mu.Unlock()
	if !waits && t.parent.Err() == nil && time.Now().Before(t.deadline) {
		return nil
	}
	return t.wait().Err()
}

// Value gives package context the context that somebody waits for: other contexts are derived from
// it.
func (t *timeout) Value(key any) any { return t.wait().Value(key) }
