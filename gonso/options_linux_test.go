package gonso

import (
	"context"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

var threadInside = Register("test.thread-inside", func(context.Context, struct{}) ([2]int, error) {
	return [2]int{os.Getpid(), unix.Gettid()}, nil
}, LeavesThreadClean())

// In a worker a function that leaves its thread clean runs on one that others use too. EndThread
// gives it one of its own.
func TestEndThreadInAWorker(t *testing.T) {
	testenv.Need(t, testenv.Process)
	testenv.Leaks(t)
	s := owned(t)(new(Set), nil)
	lives := func(thread [2]int) bool {
		_, err := os.Stat(fmt.Sprintf("/proc/%d/task/%d", thread[0], thread[1]))
		return err == nil
	}
	call := func(opts ...DoOption) [2]int {
		got, err := threadInside.Do(t.Context(), s, struct{}{}, append(opts, InProcess())...)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if shared := call(); !lives(shared) {
		t.Error("the thread of a function that leaves it clean has ended")
	}
	ended := call(EndThread())
	if !testenv.Poll(func() bool { return !lives(ended) }) {
		t.Error("the thread lives on after EndThread")
	}
}

// Of options that contradict each other none is taken silently.
func TestOptionsThatContradictAreRefusedByName(t *testing.T) {
	s := new(Set)
	for what, c := range map[string]struct {
		opts []DoOption
		says []string
	}{
		"thread, process":   {[]DoOption{InThread(), InProcess()}, []string{"InThread", "InProcess"}},
		"process, thread":   {[]DoOption{InProcess(), InThread()}, []string{"InThread", "InProcess"}},
		"thread, isolated":  {[]DoOption{InThread(), Isolated()}, []string{"InThread", "Isolated"}},
		"isolated, thread":  {[]DoOption{Isolated(), EndThread(), InThread()}, []string{"InThread", "Isolated"}},
		"closure, process":  {[]DoOption{InProcess()}, []string{"InProcess", "closure"}},
		"closure, delay":    {[]DoOption{WaitDelay(1)}, []string{"WaitDelay", "closure"}},
		"closure, isolated": {[]DoOption{Isolated()}, []string{"Isolated", "closure"}},
	} {
		err := s.Run(func() error { t.Errorf("%s: the closure ran", what); return nil }, c.opts...)
		wantError(t, what, err, os.ErrInvalid, c.says...)
		if len(c.opts) == 1 {
			continue
		}
		_, err = threadInside.Do(t.Context(), s, struct{}{}, c.opts...)
		wantError(t, what, err, os.ErrInvalid, c.says...)
		p := s.Plan(c.opts...)
		wantError(t, what, p.Closures.Err, os.ErrInvalid, c.says...)
		wantError(t, what, p.Functions.Err, os.ErrInvalid, c.says...)
	}
}
