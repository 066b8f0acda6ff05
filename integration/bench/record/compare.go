package record

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
)

// A Change compares a line of two runs.
type Change struct {
	Row, What string
	Then, Now float64 // ratios to the floor; what was measured itself where there is no floor
	// Ratio is Now by Then: the machine itself is in neither.
	Ratio float64
	Noise float64 // how far Ratio may be from 1 when nothing has changed
	// Lost is why there is nothing to compare; the other figures are then 0.
	Lost string
}

// Verdict is in a word what the Change means. What changes less than a twentieth is the same.
func (c Change) Verdict() string {
	far := max(c.Noise, 0.05)
	switch {
	case c.Lost != "":
		return c.Lost
	case c.Ratio > 1+far:
		return "WORSE"
	case c.Ratio < 1/(1+far):
		return "better"
	}
	return "the same"
}

// Compare gives a Change for each line of now that has a result. Lines that only then has are lost; of
// rows that now has nothing of, Unmeasured tells.
func Compare(then, now *Record) []Change {
	type key struct{ row, what string }
	old := make(map[key]Line)
	for _, l := range then.Lines {
		old[key{l.Row, l.What}] = l
	}
	var changes []Change
	for _, l := range now.Lines {
		k := key{l.Row, l.What}
		o, ok := old[k]
		delete(old, k)
		c := Change{Row: l.Row, What: l.What}
		switch {
		case !ok:
			c.Lost = "new"
		case l.NotMeasured != "" && o.NotMeasured != "":
			continue
		case l.NotMeasured != "":
			c.Lost = "not measured now: " + l.NotMeasured
		case o.NotMeasured != "":
			c.Lost = "not measured then: " + o.NotMeasured
		case l.Ratio != 0 && o.Ratio != 0:
			c.Then, c.Now = o.Ratio, l.Ratio
			c.Noise = math.Hypot(Noise(o.Ratios), Noise(l.Ratios))
		case l.Ratio == 0 && o.Ratio == 0 && l.Unit != "" && o.Takes != 0:
			c.Then, c.Now = o.Takes, l.Takes
			if l.Unit == Bytes {
				c.Noise = 0.1 // one look, and the collector of garbage has its moods
			}
		default:
			continue // a floor, or a time without one: those of two runs do not compare
		}
		if c.Then != 0 {
			c.Ratio = c.Now / c.Then
		}
		changes = append(changes, c)
		if c.Lost == "" && l.CPURatio != 0 && o.CPURatio != 0 {
			changes = append(changes, Change{Row: l.Row, What: l.What + ": CPU", Then: o.CPURatio, Now: l.CPURatio,
				Ratio: l.CPURatio / o.CPURatio, Noise: math.Hypot(Noise(o.CPURatios), Noise(l.CPURatios))})
		}
	}
	rows := rowsOf(now)
	for _, l := range then.Lines {
		if _, ok := old[key{l.Row, l.What}]; ok && rows[l.Row] {
			changes = append(changes, Change{Row: l.Row, What: l.What, Lost: "not there now"})
		}
	}
	return changes
}

func rowsOf(r *Record) map[string]bool {
	rows := make(map[string]bool)
	for _, l := range r.Lines {
		rows[l.Row] = true
	}
	return rows
}

// Unmeasured lists rows that only then has: now was not asked for them, or they are gone.
func Unmeasured(then, now *Record) (names []string) {
	rows := rowsOf(now)
	for _, l := range then.Lines {
		if !rows[l.Row] {
			rows[l.Row] = true
			names = append(names, l.Row)
		}
	}
	return names
}

// Differences says what else is not the same in both runs.
func Differences(then, now *Record) (diffs []string) {
	add := func(what string, then, now any) {
		if then, now := fmt.Sprint(then), fmt.Sprint(now); then != now {
			diffs = append(diffs, fmt.Sprintf("%s: %s then, %s now", what, then, now))
		}
	}
	add("kernel", then.Machine.Kernel, now.Machine.Kernel)
	add("architecture", then.Machine.Arch, now.Machine.Arch)
	add("processor", then.Machine.Processor, now.Machine.Processor)
	add("number of CPUs", len(then.Machine.CPUs), len(now.Machine.CPUs))
	add("Go", then.Go, now.Go)
	add("user", then.User, now.User)
	add("short", then.Short, now.Short)
	return diffs
}

// CompareTable prints the Changes.
func CompareTable(w io.Writer, then, now *Record) error {
	fmt.Fprintf(w, "Compared with %s: ratios to floors, and ratios of these.\n", then.Date.Format("2006-01-02"))
	for _, d := range Differences(then, now) {
		fmt.Fprintln(w, "not the same:", d)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "ROW\tWHAT\tTHEN\tNOW\tNOW/THEN\tNOISE\tVERDICT")
	for _, c := range Compare(then, now) {
		if c.Lost != "" {
			fmt.Fprintf(t, "%s\t%s\t\t\t\t\t%s\n", c.Row, c.What, c.Lost)
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%.3g\t%.3g\t%.2f\t± %.2f\t%s\n", c.Row, c.What, c.Then, c.Now, c.Ratio, c.Noise, c.Verdict())
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if rows := Unmeasured(then, now); len(rows) > 0 {
		fmt.Fprintf(w, "%d rows of then were not measured now: %s\n", len(rows), strings.Join(rows, "; "))
	}
	return nil
}
