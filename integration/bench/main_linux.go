package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

func main() {
	becomeChild()
	var o options
	flag.IntVar(&o.rounds, "rounds", 7, "how often everything is measured; medians are printed")
	flag.BoolVar(&o.short, "short", false, "do everything once, to see that it works; the figures mean nothing")
	run := flag.String("run", "", "only rows whose name matches this `regexp`")
	profile := flag.String("cpuprofile", "", "write a CPU profile to `file`; its samples have the label contestant")
	flag.Parse()
	if err := bench(os.Stdout, o, *run, *profile); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// becomeChild comes first in main: in the processes that this program starts of
// itself it does not return.
func becomeChild() {
	gonso.Init() // roles have workers, too
	if role := roles[os.Args[0]]; role != nil {
		role()
		os.Exit(0)
	}
}

type options struct {
	rounds int
	short  bool
}

func bench(w io.Writer, o options, run, profile string) error {
	if o.short {
		o.rounds = 1
	}
	if o.rounds < 1 {
		return errors.New("-rounds must be positive")
	}
	match, err := regexp.Compile(run)
	if err != nil {
		return err
	}
	if profile != "" {
		f, err := os.Create(profile)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	who := "a plain user"
	if os.Geteuid() == 0 {
		who = "root"
	}
	fmt.Fprintf(w, "%s, Linux %s, %d CPUs, %s, %d rounds\n", runtime.Version(), release(), runtime.NumCPU(), who, o.rounds)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "WHAT\tFLOOR\t\tTAKES\tRATIO\tTARGET\tREACHED")
	var errs []error
	for _, r := range rows {
		if !match.MatchString(r.name) {
			continue
		}
		lines, err := r.measure(&o)
		var no *notHere
		switch {
		case errors.As(err, &no):
			lines = []line{{what: r.name, floor: "not measured: " + no.what}}
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", r.name, err))
			continue
		}
		for _, l := range lines {
			fmt.Fprintln(t, l)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return errors.Join(errs...)
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(u.Release[:])
}

// A line is one of the table.
type line struct{ what, floor, floorTime, takes, ratio, target, reached string }

func (l line) String() string {
	return strings.Join([]string{l.what, l.floor, l.floorTime, l.takes, l.ratio, l.target, l.reached}, "\t")
}

// notHere is what a row lacks on this machine or with this user.
type notHere struct {
	what string
	err  error
}

func (e *notHere) Error() string { return e.what + ": " + e.err.Error() }
func (e *notHere) Unwrap() error { return e.err }

// possible makes a refusal by the kernel a notHere.
func possible(what string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSPC) || errors.Is(err, errors.ErrUnsupported) {
		return &notHere{what, err}
	}
	return err
}

func reached(ok bool) string {
	if ok {
		return "yes"
	}
	return "NO"
}

func formatTime(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.2f µs", float64(d)/1e3)
	case d < time.Millisecond:
		return fmt.Sprintf("%.1f µs", float64(d)/1e3)
	}
	return fmt.Sprintf("%.2f ms", float64(d)/1e6)
}
