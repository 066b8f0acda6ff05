package testenv

import (
	"testing/synctest"
	"time"
)

// Pass lets d pass on the clock of the synctest bubble that it is called in, and waits until all
// goroutines there rest. Outside of a bubble it panics: tests do not sleep.
func Pass(d time.Duration) {
	synctest.Wait()
	<-time.After(d)
	synctest.Wait()
}
