package reexec

import (
	"math"
	"testing"
	"time"
)

// The clock of the system may be set between the making of a context and the call.
func TestSetClockCannotMoveADeadline(t *testing.T) {
	now := time.Now()
	for _, d := range []time.Time{now.Add(time.Minute), now.Add(-time.Minute), now.Add(math.MaxInt64), time.Unix(1<<50, 0)} {
		if got := byWall(d, now, now.Round(0)); !got.Equal(d) {
			t.Errorf("%v became %v", d, got)
		}
	}
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		wall := now.Round(0).Add(step)
		if got := byWall(now.Add(time.Minute), now, wall); !got.Equal(wall.Add(time.Minute)) {
			t.Errorf("set by %v, it is %v away", step, got.Sub(wall))
		}
	}
}
