package main

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	becomeOther()
	os.Exit(m.Run())
}

// TestContestants calls all of them, by several callers at once, and closes them.
func TestContestants(t *testing.T) {
	for _, c := range contestants {
		t.Run(c.Name, func(t *testing.T) {
			o, err := c.Open(4)
			if err != nil {
				t.Fatal(err)
			}
			if o.PID == 0 || o.PID == os.Getpid() {
				t.Errorf("the other end is process %d, this one is %d", o.PID, os.Getpid())
			}
			errs := make(chan error, 4)
			for caller := range 4 {
				go func() {
					var all []error
					for range 10 {
						all = append(all, o.Call(caller))
					}
					errs <- errors.Join(all...)
				}()
			}
			for range 4 {
				select {
				case err := <-errs:
					if err != nil {
						t.Error(err)
					}
				case <-time.After(time.Minute):
					unix.Kill(o.PID, unix.SIGKILL)
					t.Fatal("a call did not return")
				}
			}
			if err := o.Close(); err != nil {
				t.Error(err)
			}
			if err := unix.Kill(o.PID, 0); !errors.Is(err, unix.ESRCH) {
				t.Errorf("after Close process %d is still there (%v)", o.PID, err)
			}
		})
	}
}
