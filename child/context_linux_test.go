package child

import (
	"context"
	"runtime"
	"testing"
	"time"
)

func TestContextOfACall(t *testing.T) {
	c := newContext(time.Time{})
	if _, ok := c.Deadline(); ok || c.Err() != nil {
		t.Errorf("a new one: %v, %v", ok, c.Err())
	}
	goroutines := runtime.NumGoroutine()
	stopped, stop := context.WithCancel(c)
	stop()
	derived, cancel := context.WithTimeout(c, time.Hour)
	defer cancel()
	called := make(chan struct{})
	context.AfterFunc(c, func() { close(called) })
	kept := context.AfterFunc(c, func() { t.Error("it was stopped") })
	if n := runtime.NumGoroutine(); n > goroutines { // those of other tests may have ended
		t.Errorf("%d goroutines wait for it", n-goroutines)
	}
	if !kept() || kept() {
		t.Error("it was not stopped once")
	}
	c.end(context.DeadlineExceeded)
	c.end(context.Canceled) // too late
	<-c.Done()
	<-derived.Done()
	<-called
	for name, err := range map[string]error{"it": c.Err(), "its cause": context.Cause(c), "a derived one": derived.Err()} {
		if err != context.DeadlineExceeded {
			t.Errorf("%s: %v", name, err)
		}
	}
	if stopped.Err() != context.Canceled {
		t.Errorf("one that was cancelled before: %v", stopped.Err())
	}
	late, cancelLate := context.WithCancel(c)
	defer cancelLate()
	<-late.Done()
	if len(c.after) != 0 {
		t.Errorf("%d are kept", len(c.after))
	}
}
