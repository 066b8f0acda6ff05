package reexec

import "time"

// backoff delays startups after useless startups. A startup is useless if it failed, or if its
// worker ended without an answered call and did not live for a while. The first attempt after a
// failure is not delayed. Each further attempt is delayed twice as long as the attempt before. The
// delay is measured from the failure: so a program that seldom calls never waits.
type backoff struct {
	failures int
	at       time.Time // of the last failure
	last     error
}

const (
	firstDelay = 10 * time.Millisecond
	maxDelay   = 2 * time.Second
	// A worker that lived this long was not useless.
	longLife = time.Second
)

func (b *backoff) fail(now time.Time, err error) {
	b.failures++
	b.at, b.last = now, err
}

func (b *backoff) succeed() { *b = backoff{} }

// delay is how long the next startup must wait.
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
