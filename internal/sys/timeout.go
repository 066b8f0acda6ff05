package sys

import (
	"context"
	"sync"
	"time"
)

// WithTimeout is context.WithTimeoutCause whose timer starts when it is waited for. Where no thread of the Go runtime
// happens to wait for timers, a new timer wakes one to do so, and what mostly takes a fraction of a millisecond pays for that.
func WithTimeout(parent context.Context, limit time.Duration, cause error) (context.Context, context.CancelFunc) {
	t := &timeout{parent: parent, deadline: time.Now().Add(limit), cause: cause}
	return t, t.end
}

type timeout struct {
	parent   context.Context
	deadline time.Time
	cause    error

	mu     sync.Mutex
	ctx    context.Context // once it is waited for
	cancel context.CancelFunc
	ended  bool
}

// wait is the context that is waited for.
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

// Value is asked by package context for the context that is waited for, of which others are made.
func (t *timeout) Value(key any) any { return t.wait().Value(key) }
