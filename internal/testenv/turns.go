package testenv

import (
	"slices"
	"testing"
	"time"
)

// Contest runs two ways of doing the same in turns, a batch at a time. It reports the median of
// each, and their ratio: how much longer the second way takes. It asserts nothing.
func Contest(b *testing.B, first string, one func(), second string, other func()) {
	const batch = 100
	var ones, others []time.Duration
	timed := func(to *[]time.Duration, f func()) {
		for range batch / 10 { // the other way had the processor
			f()
		}
		begin := time.Now()
		for range batch {
			f()
		}
		*to = append(*to, time.Since(begin)/batch)
	}
	for b.Loop() {
		timed(&ones, one)
		timed(&others, other)
	}
	median := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2].Nanoseconds())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ones), first+"-ns")
	b.ReportMetric(median(others), second+"-ns")
	b.ReportMetric(median(others)/median(ones), "ratio")
}
