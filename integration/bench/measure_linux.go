package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"slices"
	"time"

	"github.com/gonso/gonso/integration/bench/record"
)

// A row measures something and tells it in lines.
type row struct {
	name    string
	measure func(*options) ([]record.Line, error)
	// parts are names that may be wanted alone.
	parts []string
	// each and once say how long it takes: for each round, and for what is not repeated.
	each, once time.Duration
	// race is what is measured if it is ways of doing the same.
	race func() (*race, error)
}

// A race is several ways of doing the same: the floor, then gonso, then peers.
type race struct {
	ways  []way
	limit record.Limit
	close []func() error
}

func (r *race) Close() error {
	var errs []error
	for _, f := range slices.Backward(r.close) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// A way does it n times and tells how long that took.
type way struct {
	name string
	run  func(n int) (time.Duration, error)
}

// again makes a way's run of f.
func again(f func() error) func(int) (time.Duration, error) {
	return func(n int) (time.Duration, error) {
		start := time.Now()
		for range n {
			if err := f(); err != nil {
				return 0, err
			}
		}
		return time.Since(start), nil
	}
}

func (r row) wanted(o *options) bool {
	return o.match == nil || o.match(r.name) || slices.ContainsFunc(r.parts, o.match)
}

// takes is about how long it takes, for people who wait.
func (r row) takes(o *options) time.Duration {
	if o.short {
		return max(r.once, 200*time.Millisecond)
	}
	return r.once + time.Duration(o.rounds)*r.each
}

// raceRow is a row of a race of so many ways.
func raceRow(name string, ways int, open func() (*race, error)) row {
	return row{name: name, race: open, once: time.Second, each: time.Duration(ways) * share, measure: func(o *options) ([]record.Line, error) {
		r, err := open()
		if err != nil {
			return nil, err
		}
		results, err := r.time(o)
		if err = errors.Join(err, r.Close()); err != nil {
			return nil, err
		}
		return r.lines(name, results), nil
	}}
}

// lines tells a race's results: the first of its ways is the floor.
func (r *race) lines(name string, results [][]time.Duration) []record.Line {
	lines := make([]record.Line, 0, len(results))
	for i := range results[1:] {
		l := compared("  "+r.ways[i+1].name, r.ways[0].name, results[i+1], results[0])
		if i == 0 {
			l.What, l.Limit = name, r.limit
			l.Reached = r.limit.Reached(l.Ratio)
		}
		lines = append(lines, l)
	}
	return lines
}

// compared is the line of a way and a floor.
func compared(what, floor string, took, floorTook []time.Duration) record.Line {
	v, f := nanoseconds(took), nanoseconds(floorTook)
	ratios := record.Ratios(v, f)
	return record.Line{What: what, Takes: record.Median(v), Floor: floor, FloorTime: record.Median(f), Ratio: record.Median(ratios), Ratios: ratios}
}

// Within a round the ways take turns of about slice, for about share each.
const (
	slice = 2 * time.Millisecond
	share = 150 * time.Millisecond
)

// time gives each way's time in each round.
func (r *race) time(o *options) ([][]time.Duration, error) {
	n := make([]int, len(r.ways))
	turns, longest := 1, time.Duration(1)
	for i, w := range r.ways {
		if n[i] = 1; o.short {
			continue
		}
		took, err := w.timed(8) // also warms up
		if err == nil {
			took, err = w.timed(8)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		n[i] = int(max(1, slice*8/max(took, 1)))
		longest = max(longest, took/8)
	}
	if !o.short {
		turns = int(min(max(4*share/longest, 3), share/slice))
	}
	results := make([][]time.Duration, len(r.ways))
	for range o.rounds {
		round := make([][]time.Duration, len(r.ways))
		for range turns {
			for i, w := range r.ways {
				took, err := w.timed(n[i])
				if err != nil {
					return nil, fmt.Errorf("%s: %w", w.name, err)
				}
				round[i] = append(round[i], took/time.Duration(n[i]))
			}
		}
		for i := range round {
			results[i] = append(results[i], median(round[i]))
		}
	}
	return results, nil
}

func (w way) timed(n int) (took time.Duration, err error) {
	pprof.Do(context.Background(), pprof.Labels("contestant", w.name), func(context.Context) {
		took, err = w.run(n)
	})
	return took, err
}

func nanoseconds(v []time.Duration) []float64 {
	f := make([]float64, len(v))
	for i := range v {
		f[i] = float64(v[i])
	}
	return f
}

func median(v []time.Duration) time.Duration { return time.Duration(record.Median(nanoseconds(v))) }
