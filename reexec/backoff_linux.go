package reexec

import "time"

// backoff delays startups that follow others of no use: those that failed, and
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

// delay is how long the next startup has to wait.
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
