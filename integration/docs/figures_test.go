//go:build linux

package docs_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gonso/gonso/integration/bench/record"
)

const results = "integration/bench/results"

// A figure is a number that the record of the benchmark has.
type figure struct {
	row, what string // of the line; both are empty for what is true of the whole run
	of        func(*record.Record, record.Line) string
}

// Figures are written with no more digits than they are worth, and agree with the record as far as they are
// written: times have two digits, three from 100 on, and are in µs below 200 µs. Ratios have two
// decimals below 10, and are fractions below a tenth.
func span(ns float64) string {
	value, unit := ns/1e3, "µs"
	if value >= 200 {
		value, unit = ns/1e6, "ms"
	}
	switch {
	case value >= 9.95:
		return fmt.Sprintf("%.0f %s", value, unit)
	case value >= 0.995:
		return fmt.Sprintf("%.1f %s", value, unit)
	}
	return fmt.Sprintf("%.2f %s", value, unit)
}

func proportion(r float64) string {
	switch {
	case r >= 9.995:
		return fmt.Sprintf("%.0f", r)
	case r >= 0.1:
		return fmt.Sprintf("%.2f", r)
	}
	return fmt.Sprintf("1/%.0f", 1/r)
}

// What follows finds a figure: of the line of a row that is called as the row, or of another one.

func takes(row string, what ...string) figure {
	return figure{row, label(row, what), func(_ *record.Record, l record.Line) string { return span(l.Takes) }}
}

func floor(row string) figure {
	return figure{row, row, func(_ *record.Record, l record.Line) string { return span(l.FloorTime) }}
}

func ratio(row string, what ...string) figure {
	return figure{row, label(row, what), func(_ *record.Record, l record.Line) string { return proportion(l.Ratio) }}
}

func label(row string, what []string) string {
	if len(what) == 0 {
		return row
	}
	return what[0]
}

func ofRun(f func(*record.Record) string) figure {
	return figure{of: func(r *record.Record, _ record.Line) string { return f(r) }}
}

var (
	date   = ofRun(func(r *record.Record) string { return r.Date.Format(time.DateOnly) })
	cpus   = ofRun(func(r *record.Record) string { return fmt.Sprint(len(r.Machine.CPUs)) })
	rounds = ofRun(func(r *record.Record) string { return fmt.Sprint(r.Rounds) })
	runner = ofRun(func(r *record.Record) string { return r.User })
	kernel = ofRun(func(r *record.Record) string { return majorMinor(r.Machine.Kernel) })
	goLang = ofRun(func(r *record.Record) string { return majorMinor(strings.TrimPrefix(r.Go, "go")) })
)

func majorMinor(version string) string {
	return regexp.MustCompile(`^\d+\.\d+`).FindString(version)
}

// from says in a few words where in the record the figure is.
func (f figure) from() string {
	switch {
	case f.row == "":
		return "head"
	case f.what == f.row:
		return fmt.Sprintf("row %q", f.row)
	}
	return fmt.Sprintf("row %q, line %q", f.row, strings.TrimSpace(f.what))
}

func (f figure) value(r *record.Record) (string, error) {
	if f.row == "" {
		return f.of(r, record.Line{}), nil
	}
	for _, l := range r.Lines {
		if l.Row != f.row || strings.TrimSpace(l.What) != strings.TrimSpace(f.what) {
			continue
		}
		if l.NotMeasured != "" {
			return "", fmt.Errorf("%s was not measured: %s", f.from(), l.NotMeasured)
		}
		if l.Takes == 0 || strings.Contains(f.of(r, l), "Inf") {
			return "", fmt.Errorf("%s has no such figure", f.from())
		}
		return f.of(r, l), nil
	}
	return "", fmt.Errorf("the record has no %s", f.from())
}

// A passage is a text of a document. Each % in it is a figure.
type passage struct {
	doc, text string
	figures   []figure
}

const (
	restored, dropped = "Do restored, net", "Do dropped, net"
	warm, warmDefault = "process Do, warm", "process Do, warm, not LeavesThreadClean"
	cold, coldPID     = "process Do, cold", "process Do, cold, pid and time"
	onThread          = "Func.Do on a thread, net"
	command, pipe     = "Command, cold", "1 GiB through a pipe"
	made, pooled      = "Unshare(User) and the launcher", "Pool.Get, user+mnt+net with a warm worker"
	heap, heap4GiB    = "flat in heap", ", 4096 MiB live heap"
	readme, costs     = "README.md", "integration/docs/costs.md"
)

// line is a row of a table that has the three figures of a row of the record.
func line(text, row string) passage {
	return passage{costs, text, []figure{takes(row), floor(row), ratio(row)}}
}

var passages = []passage{
	{readme, "Medians of `make bench` on % virtual cores", []figure{cpus}},
	{readme, "| closure in a net namespace | % | the same setns by hand, % |", []figure{takes(restored), floor(restored)}},
	{readme, "| registered function, warm worker, `LeavesThreadClean` | % | a round trip between two Go processes, % |",
		[]figure{takes(warm), floor(warm)}},
	{readme, "| the same without that option | % | % |", []figure{takes(warmDefault), floor(warmDefault)}},
	{readme, "| registered function, worker not started yet | % | os/exec of the same program, % |", []figure{takes(cold), floor(cold)}},
	{readme, "| `Command` of /bin/true in new namespaces | % | os/exec of it outside, %; nsenter, % |",
		[]figure{takes(command), floor(command), takes(command, "nsenter")}},

	{costs, "Medians of `make bench` on %, as % on a virtual machine with % cores (Linux %, Go %)", []figure{date, runner, cpus, kernel, goLang}},
	line("| closure, net, thread restored | % | setns in and out on a fresh goroutine, % | % |", restored),
	line("| closure, net, thread ends | % | the same by hand, % | % |", dropped),
	line("| registered function on a thread | % | a closure there, % | % |", onThread),
	line("| registered function, warm worker, `LeavesThreadClean` | % | round trip between two Go processes, % | % |", warm),
	line("| the same without that option | % | % | % |", warmDefault),
	line("| registered function, worker not started yet | % | os/exec of the same program, % | % |", cold),
	line("| the same, in pid and time namespaces too | % | without those, % | % |", coldPID),
	line("| `Command` of /bin/true in user and net namespaces | % | os/exec of it, outside, % | % |", command),
	line("| 1 GiB through a pipe in an argument | % | between two plain processes, % | % |", pipe),
	line("| user namespace made | % | the launcher alone, % | % |", made),
	line("| user, mnt and net namespaces with a warm worker, out of a `Pool` | % | made on the spot, % | % |", pooled),
	{costs, "The ratios are the medians of those of % rounds.", []figure{rounds}},
	{costs, "With 4 GiB of live heap a user namespace takes % times as long as without, a first call % times, and a command % times;" +
		" `os/exec` with `CLONE_NEWUSER` takes % times as long.",
		[]figure{
			ratio(heap, "Unshare(User)"+heap4GiB), ratio(heap, cold+heap4GiB), ratio(heap, "Command of /bin/true"+heap4GiB),
			ratio(heap, "os/exec of it with CLONE_NEWUSER"+heap4GiB),
		}},
	{costs, "In the same run a closure in a net namespace took % with CNI's `ns.Do`, a restart of the program with `reexec.Command` %," +
		" and /bin/true % with nsenter.",
		[]figure{takes(restored, "CNI ns.Do"), floor("process Do, warm, and reexec"), takes(command, "nsenter")}},
	{costs, "[All of the run](../bench/results/%.json)", []figure{date}},
	{costs, "A closure in net, uts and cgroup namespaces takes % and is restored.", []figure{takes("Do restored, net+uts+cgroup")}},
}

// notMeasured are texts with figures that the record does not have.
var notMeasured = []struct{ doc, text string }{
	{costs, "`-rounds N` | measures everything so often, 7 times without it"}, // the option
	{costs, "every 2 ms"},  // the pace of calls
	{costs, "every 80 ms"}, // the same
	{costs, "Every 80 ms"},
	{"CONTRIBUTING.md", "every fuzz target for 30 s"},
	{"CHANGELOG.md", "up to 2 s apart"},
	{"CONTRIBUTING.md", "each 200 times"}, // the option of kernels.sh
	{"integration/docs/requirements.md", "200 times, and the medians are divided"},
	{"integration/docs/requirements.md", "15 to 75 times as long"}, // of emulation
}

// pattern matches a passage, wherever its lines end. Groups are its figures.
func pattern(text string) *regexp.Regexp {
	text = strings.Join(strings.Fields(text), " ")
	text = strings.ReplaceAll(regexp.QuoteMeta(text), "%", `([\w.,/-]+(?:\s(?:[nµm]?s\b))?)`)
	return regexp.MustCompile(strings.ReplaceAll(text, " ", `\s+`))
}

var anyFigure = regexp.MustCompile(`\d[\d.,]*\s(?:[nµm]?s\b|times\b)|\b1/\d+`)

// compare holds a document against the record. It returns what does not agree, and the text that would.
func compare(doc, text string, r *record.Record) (problems []string, updated string) {
	where := func(at int) string { return fmt.Sprintf("%s:%d", doc, 1+strings.Count(text[:at], "\n")) }
	known := make([]bool, len(text)) // bytes of passages
	type edit struct {
		from, to int
		with     string
	}
	var edits []edit
	for _, p := range passages {
		if p.doc != doc {
			continue
		}
		at := pattern(p.text).FindAllStringSubmatchIndex(text, -1)
		if len(at) != 1 {
			problems = append(problems, fmt.Sprintf("%s has %d times %q, not once: after a change of the words change passages, too", doc, len(at), p.text))
			continue
		}
		for i := at[0][0]; i < at[0][1]; i++ {
			known[i] = true
		}
		for i, f := range p.figures {
			from, to := at[0][2+2*i], at[0][3+2*i]
			want, err := f.value(r)
			if err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v", where(from), err))
				continue
			}
			if have := strings.Join(strings.Fields(text[from:to]), " "); have != want {
				problems = append(problems, fmt.Sprintf("%s says %s; the record says %s (%s)", where(from), have, want, f.from()))
				edits = append(edits, edit{from, to, want})
			}
		}
	}
	for _, n := range notMeasured {
		if n.doc != doc {
			continue
		}
		at := pattern(n.text).FindAllStringIndex(text, -1)
		if len(at) == 0 {
			problems = append(problems, fmt.Sprintf("%s has no %q: take it out of notMeasured", doc, n.text))
		}
		for _, at := range at {
			for i := at[0]; i < at[1]; i++ {
				known[i] = true
			}
		}
	}
	for _, at := range anyFigure.FindAllStringIndex(text, -1) {
		if !known[at[0]] && !fenced(text[:at[0]]) {
			problems = append(problems, fmt.Sprintf("%s says %q, and nothing says which line of the record that is: add it to passages, or to notMeasured",
				where(at[0]), text[at[0]:at[1]]))
		}
	}
	var b strings.Builder
	last := 0
	for at := range text { // edits are in the order of passages, not of the text
		for _, e := range edits {
			if e.from == at {
				b.WriteString(text[last:at] + e.with)
				last = e.to
			}
		}
	}
	return problems, b.String() + text[last:]
}

// fenced says that what follows is in a block of code.
func fenced(before string) bool { return strings.Count("\n"+before, "\n```")%2 == 1 }

// newest is the file of the last run that was kept.
func newest(t *testing.T) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, results, "????-??-??.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%s has %d records, %v", results, len(files), err)
	}
	return files[len(files)-1]
}

// GONSO_DOCS_UPDATE=1 writes the figures of the newest record into the documents, and draws its pictures.
func TestFiguresAreThoseOfTheRecord(t *testing.T) {
	r, err := record.Read(newest(t))
	if err != nil {
		t.Fatal(err)
	}
	if r.Short || r.User != "root" {
		t.Errorf("%s is of a run that does not count: short %v, by %s", newest(t), r.Short, r.User)
	}
	if want := r.Date.Format(time.DateOnly) + ".json"; filepath.Base(newest(t)) != want {
		t.Errorf("%s is not called after its date, %s", newest(t), want)
	}
	for _, doc := range documents {
		problems, updated := compare(doc, document(t, doc), r)
		if os.Getenv("GONSO_DOCS_UPDATE") != "" {
			if err := os.WriteFile(filepath.Join(root, doc), []byte(updated), 0o644); err != nil {
				t.Fatal(err)
			}
			problems, _ = compare(doc, updated, r)
		}
		for _, p := range problems {
			t.Error(p)
		}
	}
	if t.Failed() {
		t.Logf("the record is %s; GONSO_DOCS_UPDATE=1 go -C integration test -run Record ./docs writes its figures", newest(t))
	}
}

func TestPicturesAreThoseOfTheRecord(t *testing.T) {
	needGo(t)
	dir := openDir(t)
	if os.Getenv("GONSO_DOCS_UPDATE") != "" {
		dir = filepath.Join(root, results)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	file, err := filepath.Abs(newest(t))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "run", "./bench/plot", dir, file)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	kept, err := filepath.Glob(filepath.Join(root, results, "*.svg"))
	if err != nil || len(kept) < 3 {
		t.Fatalf("%s has %d pictures, %v", results, len(kept), err)
	}
	for _, name := range kept {
		have, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join(dir, filepath.Base(name)))
		if err != nil {
			t.Errorf("%s is not a picture of %s: %v", name, file, err)
		} else if !bytes.Equal(have, want) {
			t.Errorf("%s is not what plot draws of %s; GONSO_DOCS_UPDATE=1 draws it again", name, file)
		}
	}
}

// The comparison itself finds what is wrong, and puts it right.
func TestWrongFiguresAreFound(t *testing.T) {
	r, err := record.Read(newest(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range []string{readme, costs} {
		_, good := compare(doc, document(t, doc), r)
		if p, _ := compare(doc, good, r); len(p) != 0 {
			t.Fatalf("after an update: %q", p)
		}
		for _, p := range passages {
			if p.doc != doc {
				continue
			}
			at := pattern(p.text).FindStringSubmatchIndex(good)
			for i, f := range p.figures {
				from, to := at[2+2*i], at[3+2*i]
				digit := from + strings.LastIndexAny(good[from:to], "0123456789")
				bad := good[:from] + "other" + good[to:]
				if digit >= from { // "root" has none
					bad = good[:digit] + string('0'+(good[digit]-'0'+1)%10) + good[digit+1:]
				}
				problems, updated := compare(doc, bad, r)
				if len(problems) != 1 || !strings.Contains(problems[0], good[from:to]) || !strings.Contains(problems[0], f.from()) {
					t.Errorf("%s, %q, %s: %q", doc, p.text, good[from:to], problems)
				}
				if updated != good {
					t.Errorf("%s, %q, %s: an update does not put it right", doc, p.text, good[from:to])
				}
			}
		}
		if p, _ := compare(doc, good+"\nIt takes 3 ms.\n", r); len(p) != 1 || !strings.Contains(p[0], "notMeasured") {
			t.Errorf("%s: a figure from nowhere: %q", doc, p)
		}
	}

	// A record of another machine: nearly every figure is another one.
	other := *r
	other.Lines = nil
	for _, l := range r.Lines {
		l.Takes, l.FloorTime, l.Ratio = l.Takes*3, l.FloorTime*2, l.Ratio*1.5
		other.Lines = append(other.Lines, l)
	}
	if p, _ := compare(costs, document(t, costs), &other); len(p) < 30 {
		t.Errorf("another record: %q", p)
	}
	other.Lines = nil
	if p, _ := compare(costs, document(t, costs), &other); len(p) < 30 || !strings.Contains(strings.Join(p, "\n"), "the record has no row") {
		t.Errorf("a record without lines: %q", p)
	}
}
