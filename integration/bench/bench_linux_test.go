package main

import (
	"errors"
	"os"
	"os/exec"
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
		o := options{rounds: 1, short: true, peers: sibling{name: "peers"}}
		for _, r := range rows {
			b.Run(r.name, func(b *testing.B) {
				if _, err := r.measure(&o); err != nil {
					skipUnlessPossible(b, err)
				}
			})
		}
		if err := o.peers.Close(); err != nil {
			b.Error(err)
		}
	}
}

// skipUnlessPossible skips what this machine, the kernel, or the kernel for this user does not have.
func skipUnlessPossible(b *testing.B, err error) {
	if no, ok := errors.AsType[*notHere](err); ok {
		_, exit := errors.AsType[*exec.ExitError](no)
		if exit || errors.Is(no, exec.ErrNotFound) {
			testenv.Found(b, "go", err)
		}
		testenv.Found(b, "rights", err)
	}
	b.Fatal(err)
}
