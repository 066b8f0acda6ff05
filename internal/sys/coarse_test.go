package sys

import (
	"sync"
	"testing"
	"time"
)

// Those who wait share a timer, and each of them waits for as long as it asked to at least.
func TestCoarseCannotEndAWaitEarly(t *testing.T) {
	const ticks = 3
	c := &Coarse{Period: 20 * time.Millisecond}
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			begin := time.Now()
			for range ticks {
				<-c.Tick()
			}
			if took := time.Since(begin); took < (ticks-1)*c.Period {
				t.Errorf("%d ticks took %v", ticks, took)
			}
		})
	}
	wg.Wait()
	if one, two := c.Tick(), c.Tick(); one != two {
		t.Error("two that wait at once have a timer each")
	}
	<-c.Tick()
}
