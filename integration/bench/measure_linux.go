package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"slices"
	"time"
)

// A row measures something and tells it in lines.
type row struct {
	name    string
	measure func(*options) ([]line, error)
	// race is what is measured if it is ways of doing the same.
	race func() (*race, error)
}

// A race is several ways of doing the same: the floor, then gonso, then peers.
type race struct {
	ways  []way
	limit limit
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

// A limit is what is to be reached: at most so many times the floor's time, or,
// if negative, so many times faster than the floor.
type limit float64

func (l limit) String() string {
	switch {
	case l == 0:
		return "-"
	case l < 0:
		return fmt.Sprintf("≥ %g × faster", -l)
	}
	return fmt.Sprintf("≤ %g", float64(l))
}

func (l limit) reached(ratio float64) string {
	switch {
	case l == 0:
		return "-"
	case l < 0:
		return reached(ratio*float64(-l) <= 1)
	}
	return reached(ratio <= float64(l))
}

// ratio is how the limit's ratio is written.
func (l limit) ratio(r float64) string {
	if l < 0 {
		return fmt.Sprintf("1/%.0f", 1/r)
	}
	return fmt.Sprintf("%.2f", r)
}

// raceRow is a row of a race.
func raceRow(name string, open func() (*race, error)) row {
	return row{name: name, race: open, measure: func(o *options) ([]line, error) {
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
func (r *race) lines(name string, results [][]time.Duration) []line {
	floor := results[0]
	lines := make([]line, 0, len(results))
	for i, res := range results[1:] {
		l := line{what: "  " + r.ways[i+1].name, takes: formatTime(median(res)), ratio: r.limit.ratio(median(ratios(res, floor)))}
		if i == 0 {
			l.what = name
			l.floor, l.floorTime = r.ways[0].name, formatTime(median(floor))
			l.target, l.reached = r.limit.String(), r.limit.reached(median(ratios(res, floor)))
		}
		lines = append(lines, l)
	}
	return lines
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

func median[T ~int64 | ~float64](v []T) T {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// ratios compares round by round, as only times of the same round do.
func ratios(v, floor []time.Duration) []float64 {
	r := make([]float64, len(v))
	for i := range v {
		r[i] = float64(v[i]) / float64(floor[i])
	}
	return r
}
