package record

import (
	"math"
	"slices"
)

// Median is NaN for no values at all.
func Median(v []float64) float64 { return Percentile(v, 50) }

// Percentile is the smallest value that p of a hundred values are not above. In between two values
// it is on the line from one to the other, so that the median of two is their mean.
func Percentile(v []float64, p float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := v
	if !slices.IsSorted(s) {
		s = slices.Sorted(slices.Values(v))
	}
	at := p / 100 * float64(len(s)-1)
	i := int(at)
	if i >= len(s)-1 {
		return s[len(s)-1]
	}
	return s[i] + (at-float64(i))*(s[i+1]-s[i])
}

// Ratios divides round by round, as only times of the same round compare.
func Ratios(v, floor []float64) []float64 {
	r := make([]float64, min(len(v), len(floor)))
	for i := range r {
		r[i] = v[i] / floor[i]
	}
	return r
}

// Noise says how far the median of these values may be from that of other runs like this one, as
// a part of it: a 95 % interval from the quartiles. Few values say nothing about that, so it is 1.
func Noise(v []float64) float64 {
	if len(v) < 4 {
		return 1
	}
	spread := Percentile(v, 75) - Percentile(v, 25)
	return 1.57 * spread / math.Sqrt(float64(len(v))) / Median(v)
}

// MedianCalls has the median over turns of each figure, and the sum of their calls.
func MedianCalls(turns []Calls) *Calls {
	of := func(f func(Calls) float64) float64 {
		v := make([]float64, len(turns))
		for i, t := range turns {
			v[i] = f(t)
		}
		return Median(v)
	}
	ofPart := func(f func(Calls) *float64) *float64 {
		if len(turns) == 0 || f(turns[0]) == nil {
			return nil
		}
		m := of(func(c Calls) float64 { return *f(c) })
		return &m
	}
	c := &Calls{
		P50:            of(func(c Calls) float64 { return c.P50 }),
		P90:            of(func(c Calls) float64 { return c.P90 }),
		P99:            of(func(c Calls) float64 { return c.P99 }),
		CallerCPU:      of(func(c Calls) float64 { return c.CallerCPU }),
		WorkerCPU:      ofPart(func(c Calls) *float64 { return c.WorkerCPU }),
		CallerSwitches: of(func(c Calls) float64 { return c.CallerSwitches }),
		WorkerSwitches: ofPart(func(c Calls) *float64 { return c.WorkerSwitches }),
		CallerAllocs:   of(func(c Calls) float64 { return c.CallerAllocs }),
		PerSecond:      of(func(c Calls) float64 { return c.PerSecond }),
	}
	for _, t := range turns {
		c.N += t.N
	}
	return c
}
