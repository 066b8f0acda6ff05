package reexec

import (
	"context"
	"fmt"
	"time"
)

// backoff delays starts that follow others of no use: those that failed, and
// those of workers that ended without having answered a call or lived for a
// while. The first attempt after a failure is not delayed, each further one
// twice as long as the one before. It is measured from the failure, so that who
// seldom calls never waits.
type backoff struct {
	failures int
	at       time.Time // of the last one
	last     error
}

const (
	firstDelay = 10 * time.Millisecond
	maxDelay   = 2 * time.Second
	// A worker that lived so long was not started in vain.
	longLife = time.Second
)

func (b *backoff) fail(now time.Time, err error) {
	b.failures++
	b.at, b.last = now, err
}

func (b *backoff) succeed() { *b = backoff{} }

// delay is how long the next start has to wait.
func (b *backoff) delay(now time.Time) time.Duration {
	if b.failures < 2 {
		return 0
	}
	d := maxDelay
	if n := b.failures - 2; n < 10 {
		d = min(d, firstDelay<<n)
	}
	return max(0, d-now.Sub(b.at))
}

// holdBack waits until a start is due, or the Worker is closed.
func (w *Worker) holdBack() error {
	w.mu.Lock()
	d := w.backoff.delay(w.now())
	w.mu.Unlock()
	if d == 0 {
		return nil
	}
	select {
	case <-w.after(d):
		return nil
	case <-w.closing:
		return ErrWorkerClosed
	}
}

// gaveUp is the error of a caller whose context was done before there was a
// worker. That nothing of it ran is said by not matching ErrWorkerDied.
func (w *Worker) gaveUp(ctx context.Context) error {
	w.mu.Lock()
	last := w.backoff.last
	w.mu.Unlock()
	if last == nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w, before a worker could be started again; the last one: %s", ctx.Err(), Clause(last))
}

// ended judges a worker's life. told is whether this process had it end.
func (w *Worker) judge(p *process, told bool, died *DiedError) {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case p.answered || now.Sub(p.started) >= longLife:
		w.backoff.succeed()
	case !told:
		w.backoff.fail(now, died)
	}
}
