package main

import (
	"fmt"
	"slices"
	"testing"
)

func TestPlacements(t *testing.T) {
	pairs := func(cpu int) string { return fmt.Sprint(cpu / 2) }
	halves := func(cpu int) string { return fmt.Sprint(cpu % 4) } // of 8, CPU n and n+4 share a core
	each := func(cpu int) string { return fmt.Sprint(cpu) }
	same := func(int) string { return "0" }
	for _, c := range []struct {
		allowed       []int
		core          func(int) string
		one           int
		caller, other int
	}{
		{[]int{0, 1}, each, 1, 1, 0},
		{[]int{0, 1}, same, 1, 1, 0},        // one core is all there is
		{[]int{0, 1, 2, 3}, pairs, 3, 3, 1}, // not 2, which shares a core with 3
		{[]int{0, 3, 7}, halves, 7, 7, 0},
		{[]int{5, 9}, each, 9, 9, 5}, // only those that may be used
	} {
		before := slices.Clone(c.allowed)
		p := placements(c.allowed, c.core)
		if len(p) != 3 || p[0].name != oneCPU || p[1].name != twoCPUs || p[2].name != freely {
			t.Fatalf("%v: %+v", c.allowed, p)
		}
		if !slices.Equal(p[0].caller, []int{c.one}) || !slices.Equal(p[0].worker, p[0].caller) {
			t.Errorf("%v: on one CPU: %+v", c.allowed, p[0])
		}
		if !slices.Equal(p[1].caller, []int{c.caller}) || !slices.Equal(p[1].worker, []int{c.other}) {
			t.Errorf("%v: on two CPUs: %+v", c.allowed, p[1])
		}
		if !slices.Equal(p[2].caller, before) || !slices.Equal(p[2].worker, before) {
			t.Errorf("%v: free: %+v", c.allowed, p[2])
		}
		for _, p := range p {
			if p.notHere != "" {
				t.Errorf("%v: %s is not here: %s", c.allowed, p.name, p.notHere)
			}
		}
	}
}

func TestPlacementsOnOneCPU(t *testing.T) {
	p := placements([]int{3}, func(cpu int) string { return fmt.Sprint(cpu) })
	if p[0].notHere != "" || !slices.Equal(p[0].caller, []int{3}) {
		t.Errorf("on one CPU: %+v", p[0])
	}
	for _, p := range p[1:] {
		if p.notHere == "" {
			t.Errorf("%s is said to be possible: %+v", p.name, p)
		}
		lines, err := warm(&options{rounds: 1, short: true}, "warm, "+p.name, p)
		if err != nil || len(lines) != 1 || lines[0].NotMeasured != p.notHere {
			t.Errorf("%s: %+v, %v", p.name, lines, err)
		}
	}
}
