//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gonso/gonso/gonso"
)

// report is what the demo shows.
type report struct {
	head  []string
	rows  []row
	plans []namedPlan
}

// row is one piece of work. Zero fields are shown as "-".
type row struct {
	work     string
	backend  gonso.Backend
	pid, tid int
	entered  []string // namespaces, by id
	why      string
	result   string
	took     time.Duration
}

type namedPlan struct {
	name string
	plan gonso.Plan
}

// columns are the titles of the table and how wide each may become.
var columns = []struct {
	title string
	width int
}{
	{"work", 20}, {"backend", 7}, {"pid", 7}, {"thread", 7}, {"namespaces entered", 18}, {"why", 26}, {"result", 38}, {"time", 9},
}

func (r *row) cells() []string {
	number := func(n int) string {
		if n == 0 {
			return "-"
		}
		return fmt.Sprint(n)
	}
	entered := "-"
	if len(r.entered) > 0 {
		entered = strings.Join(r.entered, "\n")
	}
	took := "-"
	if r.took != 0 {
		took = duration(r.took)
	}
	cells := []string{r.work, string(r.backend), number(r.pid), number(r.tid), entered, r.why, r.result, took}
	for i := range cells {
		if cells[i] == "" {
			cells[i] = "-"
		}
	}
	return cells
}

func duration(d time.Duration) string {
	if d < time.Millisecond {
		return fmt.Sprintf("%d µs", d.Microseconds())
	}
	return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000)
}

func (r *report) print(w io.Writer) {
	for _, line := range r.head {
		fmt.Fprintln(w, line)
	}
	titles := make([]string, len(columns))
	rule := make([]string, len(columns))
	for i, c := range columns {
		titles[i], rule[i] = c.title, strings.Repeat("-", c.width)
	}
	fmt.Fprintln(w)
	printLine(w, titles)
	printLine(w, rule)
	for i := range r.rows {
		if i > 0 {
			fmt.Fprintln(w)
		}
		r.rows[i].print(w)
	}
	if len(r.plans) > 0 {
		fmt.Fprintf(w, "\nPlans, as Set.Plan gives them:\n")
	}
	for _, p := range r.plans {
		fmt.Fprintf(w, "\n%s: %v\n", p.name, p.plan)
	}
}

// print prints as many lines as the tallest cell has.
func (r *row) print(w io.Writer) {
	cells := r.cells()
	wrapped := make([][]string, len(cells))
	height := 0
	for i, c := range cells {
		wrapped[i] = wrap(c, columns[i].width)
		height = max(height, len(wrapped[i]))
	}
	for n := range height {
		line := make([]string, len(cells))
		for i := range cells {
			if n < len(wrapped[i]) {
				line[i] = wrapped[i][n]
			}
		}
		printLine(w, line)
	}
}

func printLine(w io.Writer, cells []string) {
	var b strings.Builder
	for i, c := range cells {
		b.WriteString(c)
		if pad := columns[i].width - utf8.RuneCountInString(c) + 2; pad > 0 {
			b.WriteString(strings.Repeat(" ", pad))
		}
	}
	fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
}

// wrap breaks text between words, and within those that are longer than width.
func wrap(text string, width int) []string {
	var lines []string
	for paragraph := range strings.SplitSeq(text, "\n") {
		var line []rune
		for word := range strings.FieldsSeq(paragraph) {
			for rest := []rune(word); len(rest) > 0; {
				piece := rest[:min(len(rest), width)]
				rest = rest[len(piece):]
				if len(line) > 0 && len(line)+1+len(piece) > width {
					lines, line = append(lines, string(line)), nil
				}
				if len(line) > 0 {
					line = append(line, ' ')
				}
				line = append(line, piece...)
			}
		}
		lines = append(lines, string(line))
	}
	return lines
}
