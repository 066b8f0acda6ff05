//go:build linux

package reexec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/testenv"
)

// BenchmarkCreateUser compares making a user namespace, maps and all, with its
// floor: a launcher that does nothing, from start to reaped. They take turns,
// and medians are what counts. The integration module prints it in its table.
// On emulated processors exec-ratio is what says something: to os/exec of a
// small static program, busybox, where that is installed.
func BenchmarkCreateUser(b *testing.B) {
	var list launcher.List
	alone := func() error {
		p, err := launcher.Start(&launcher.Cmd{List: &list})
		if err != nil {
			return err
		}
		defer p.Close()
		_, err = p.Wait()
		return err
	}
	c := &Creation{
		Unshare: unix.CLONE_NEWUSER, UIDMap: fmt.Sprintf("0 %d 1", os.Geteuid()), GIDMap: fmt.Sprintf("0 %d 1", os.Getegid()),
		DenySetgroups: os.Geteuid() != 0,
	}
	create := func() error {
		files, err := create(context.Background(), c)
		sys.CloseFiles(files)
		return err
	}
	busybox, missing := exec.LookPath("busybox")
	var floor, ours, execs []time.Duration
	timed := func(to *[]time.Duration, f func() error) {
		start := time.Now()
		if err := f(); errors.Is(err, unix.EPERM) || errors.Is(err, errors.ErrUnsupported) {
			testenv.Found(b, "rights", err)
		} else if err != nil {
			b.Fatal(err)
		}
		*to = append(*to, time.Since(start))
	}
	for b.Loop() {
		timed(&floor, alone)
		timed(&ours, create)
		if missing == nil {
			timed(&execs, exec.Command(busybox, "true").Run)
		}
	}
	median := func(d []time.Duration) float64 {
		slices.Sort(d)
		return float64(d[len(d)/2].Nanoseconds())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(floor), "launcher-ns")
	b.ReportMetric(median(ours), "create-ns")
	b.ReportMetric(median(ours)/median(floor), "ratio")
	if missing == nil {
		b.ReportMetric(median(execs), "exec-ns")
		b.ReportMetric(median(ours)/median(execs), "exec-ratio")
	}
}
