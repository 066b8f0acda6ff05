package record

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// Table prints the lines, those with figures of single calls in a table of their own.
func Table(w io.Writer, lines []Line) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	head := ""
	row := ""
	for _, l := range lines {
		h := "WHAT\tFLOOR\t\tTAKES\tRATIO\tTARGET\tREACHED"
		if l.Placement != "" {
			h = "WHAT\tP50\tP90\tP99\tRATIO\tOF CPU\tTO\tTARGET\tREACHED\tCPU\tWORKER\tSWITCHES\tWORKER\tALLOCS\tCALLS/S"
		}
		if h != head {
			if head != "" {
				if err := t.Flush(); err != nil {
					return err
				}
				fmt.Fprintln(w)
			}
			fmt.Fprintln(t, h)
			head = h
		}
		if l.Placement != "" {
			if l.Row != row {
				fmt.Fprintln(t, l.Row)
			}
			row = l.Row
			fmt.Fprintln(t, l.calls())
			continue
		}
		fmt.Fprintln(t, l.race())
	}
	return t.Flush()
}

func (l Line) race() string {
	if l.NotMeasured != "" {
		return l.What + "\tnot measured: " + l.NotMeasured
	}
	ratio, target := "", l.Target
	switch {
	case l.Unit == Bytes && l.FloorTime != 0:
		ratio = "+" + format(l.Takes-l.FloorTime, l.Unit)
	case l.Ratio != 0:
		ratio = l.Limit.Ratio(l.Ratio)
	}
	if target == "" {
		target = l.Limit.String()
	}
	floor := ""
	if l.FloorTime != 0 {
		floor = format(l.FloorTime, l.Unit)
	}
	return strings.Join([]string{l.What, l.Floor, floor, format(l.Takes, l.Unit), ratio, target, l.reached()}, "\t")
}

func (l Line) calls() string {
	if l.NotMeasured != "" {
		return "  " + l.What + "\tnot measured: " + l.NotMeasured
	}
	c := l.Calls
	ratio, cpu, of := "", "", ""
	if l.Ratio != 0 {
		ratio, cpu, of = fmt.Sprintf("%.2f", l.Ratio), fmt.Sprintf("%.2f", l.CPURatio), l.Floor
	}
	part := func(v *float64, f func(float64) string) string {
		if v == nil {
			return "-"
		}
		return f(*v)
	}
	ns := func(v float64) string { return format(v, "") }
	number := func(v float64) string { return fmt.Sprintf("%.1f", v) }
	return strings.Join([]string{"  " + l.What, ns(c.P50), ns(c.P90), ns(c.P99), ratio, cpu, of, l.Limit.String(), l.reached(),
		ns(c.CallerCPU), part(c.WorkerCPU, ns), number(c.CallerSwitches), part(c.WorkerSwitches, number),
		number(c.CallerAllocs), fmt.Sprintf("%.0f", c.PerSecond)}, "\t")
}

func (l Line) reached() string {
	switch {
	case l.Reached == nil:
		return "-"
	case *l.Reached:
		return "yes"
	}
	return "NO"
}

func format(v float64, unit string) string {
	switch unit {
	case Bytes:
		return fmt.Sprintf("%.2f MiB", v/(1<<20))
	case Count:
		return fmt.Sprintf("%.2f", v)
	}
	return FormatTime(time.Duration(v))
}

// FormatTime has three digits and more.
func FormatTime(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%.2f µs", float64(d)/1e3)
	case d < time.Millisecond:
		return fmt.Sprintf("%.1f µs", float64(d)/1e3)
	}
	return fmt.Sprintf("%.2f ms", float64(d)/1e6)
}
