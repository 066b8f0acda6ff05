package main

import (
	"errors"
	"os"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

func TestMain(m *testing.M) {
	becomeChild()
	os.Exit(m.Run())
}

// BenchmarkRow gives each way of each race on its own, for benchstat and for
// profiles.
func BenchmarkRow(b *testing.B) {
	for _, r := range rows {
		if r.race == nil {
			continue
		}
		b.Run(r.name, func(b *testing.B) {
			race, err := r.race()
			if err != nil {
				skipUnlessPossible(b, err)
			}
			for _, w := range race.ways {
				b.Run(w.name, func(b *testing.B) {
					took, err := w.run(b.N)
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/op")
				})
			}
			if err := race.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}

// BenchmarkTable is the whole program, shortened.
func BenchmarkTable(b *testing.B) {
	for b.Loop() {
		for _, r := range rows {
			if _, err := r.measure(&options{rounds: 1, short: true}); err != nil {
				b.Run(r.name, func(b *testing.B) { skipUnlessPossible(b, err) })
			}
		}
	}
}

// skipUnlessPossible skips what the kernel does not let this user do.
func skipUnlessPossible(b *testing.B, err error) {
	var no *notHere
	if errors.As(err, &no) {
		testenv.Found(b, "rights", err)
	}
	b.Fatal(err)
}
