package gonso

import (
	"fmt"
	"strings"
	"time"
)

// clockOffsets are the offsets of a time namespace.
type clockOffsets struct{ monotonic, boottime time.Duration }

// format writes offsets the way /proc/PID/timens_offsets takes them: clock id,
// seconds, and nanoseconds that are never negative. The names of the clocks came
// later than their numbers.
func (o *clockOffsets) format() string {
	const clockMonotonic, clockBoottime = 1, 7
	var b strings.Builder
	for _, c := range []struct {
		id     int
		offset time.Duration
	}{{clockMonotonic, o.monotonic}, {clockBoottime, o.boottime}} {
		sec, nsec := c.offset/time.Second, c.offset%time.Second
		if nsec < 0 {
			sec, nsec = sec-1, nsec+time.Second
		}
		fmt.Fprintf(&b, "%d %d %d\n", c.id, sec, nsec)
	}
	return b.String()
}
