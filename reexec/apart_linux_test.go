package reexec

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestApart(t *testing.T) {
	cpus := func(numbers ...int) *unix.CPUSet {
		var s unix.CPUSet
		for _, n := range numbers {
			s.Set(n)
		}
		return &s
	}
	for _, tt := range []struct {
		procs        int
		ours, theirs *unix.CPUSet
		want         bool
	}{
		{1, cpus(0), cpus(0), false},
		{1, cpus(0), cpus(1), true},
		{1, cpus(0), cpus(0, 1), true},
		{1, cpus(0, 1), cpus(0, 1), true}, // GOMAXPROCS=1
		{2, cpus(0, 1), cpus(0, 1), false},
		{2, cpus(0, 1), cpus(2, 3), false},
	} {
		if got := areApart(tt.procs, tt.ours, tt.theirs); got != tt.want {
			t.Errorf("%d of %v, worker on %v: %v", tt.procs, tt.ours, tt.theirs, got)
		}
	}
	var a apart
	a.ask(os.Getpid())
	was := a.is.Load()
	a.is.Store(!was)
	for range apartLook - 1 {
		if a.ask(os.Getpid()) == was {
			t.Fatal("it looked too soon")
		}
	}
	if a.ask(os.Getpid()) != was {
		t.Error("it did not look again")
	}
}
