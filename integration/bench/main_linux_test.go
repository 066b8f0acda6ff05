package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/integration/bench/record"
)

func TestMeasureAll(t *testing.T) {
	var said []string
	o := &options{rounds: 3, match: func(name string) bool { return name != "unwanted" },
		note: func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }}
	gives := func(l record.Line) func(*options) ([]record.Line, error) {
		return func(*options) ([]record.Line, error) { return []record.Line{l}, nil }
	}
	lines, errs := measureAll(o, []row{
		{name: "one", each: 20 * time.Second, once: 30 * time.Second, measure: gives(record.Line{What: "a", Takes: 1})},
		{name: "unwanted", measure: gives(record.Line{What: "b"})},
		{name: "two", once: 60 * time.Second, measure: func(*options) ([]record.Line, error) {
			return nil, possible("needs root", unix.EPERM)
		}},
		{name: "three", measure: func(*options) ([]record.Line, error) { return nil, errors.New("broken") }},
		{name: "four", measure: gives(record.Line{Row: "four, half", What: "c", Takes: 1})},
	})
	var got []string
	for _, l := range lines {
		got = append(got, l.Row+"/"+l.What+"/"+l.NotMeasured)
	}
	if want := "one/a/ two/two/needs root four, half/c/"; strings.Join(got, " ") != want {
		t.Errorf("lines: %q, not %q", got, want)
	}
	if len(errs) != 1 || errs[0].Error() != "three: broken" {
		t.Errorf("errors: %v", errs)
	}
	all := strings.Join(said, "\n")
	for _, want := range []string{"4 rows, about 2 min", "1 of 4: one (2 min left)", "2 of 4: two (60 s left)", "3 of 4: three (0 s left)"} {
		if !strings.Contains(all, want) {
			t.Errorf("it did not say %q:\n%s", want, all)
		}
	}
}

func TestRemaining(t *testing.T) {
	const s = time.Second
	for _, c := range []struct{ left, done, took, want time.Duration }{
		{100 * s, 0, 0, 100 * s},
		{100 * s, 2 * s, 10 * s, 100 * s}, // too early to tell
		{100 * s, 30 * s, 60 * s, 200 * s},
		{100 * s, 0, 60 * s, 100 * s},
	} {
		if got := remaining(c.left, c.done, c.took); got != c.want {
			t.Errorf("%v left, %v done in %v: %v, not %v", c.left, c.done, c.took, got, c.want)
		}
	}
}

// TestRowsAreKept: results of other days are compared by these names.
func TestRowsAreKept(t *testing.T) {
	names := make(map[string]bool)
	for _, r := range rows {
		for _, name := range append([]string{r.name}, r.parts...) {
			if names[name] {
				t.Errorf("two rows are named %q", name)
			}
			names[name] = true
		}
		if r.takes(&options{rounds: 7}) <= 0 {
			t.Errorf("%s: it is not said how long it takes", r.name)
		}
	}
	for _, name := range []string{
		"Do restored, net", "Do restored, net+uts+cgroup", "Do dropped, net", "Func.Do on a thread, net", "process Do, warm",
		"process Do, warm, not LeavesThreadClean", "process Do, warm, and reexec", "process Do, cold", "process Do, cold, pid and time",
		"Command, cold", "Pool.Get, user+mnt+net with a warm worker", "1 GiB through a pipe", "Unshare(User)", "Unshare(User) and the launcher",
		"Unshare(Net)", "flat in heap", "a Set without processes", "idle worker", "with 1000 mounts", "with 1000 live Sets",
		"with 10000 descriptors", "with 900 kB of environment", "warm, one CPU, back to back", "warm, two CPUs, every 80 ms", "warm, free, 64 callers",
	} {
		if !names[name] {
			t.Errorf("there is no row %q", name)
		}
	}
	for _, e := range entries {
		if e.of != "" && !containsEntry(e.of) {
			t.Errorf("%s is compared with %q, which is not there", e.name, e.of)
		}
	}
}

func TestNoFaster(t *testing.T) {
	for _, c := range []struct {
		none, half, full float64
		want             bool
	}{
		{100, 100, 100, true},
		{100, 200, 300, true},  // linear
		{100, 200, 500, false}, // square
		{100, 103, 115, true},  // noise
		{100, 200, 250, true},  // the more, the cheaper
	} {
		// Each round is of a machine that is twice as slow as in the one before.
		v := func(f float64) []float64 { return []float64{f, 2 * f, 4 * f} }
		if got := noFaster(v(c.none), v(c.half), v(c.full)); got != c.want {
			t.Errorf("%v, %v, %v: %v", c.none, c.half, c.full, got)
		}
	}
}

func containsEntry(name string) bool {
	for _, e := range entries {
		if e.name == name {
			return true
		}
	}
	return false
}

// TestRunAndCompare is the program from its options to its files, for a row that anybody can measure.
func TestRunAndCompare(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	var first, second bytes.Buffer
	const run = "^a Set without processes$|^warm, two CPUs, back to back$"
	o := options{rounds: 1, short: true, peers: sibling{name: "peers", err: &notHere{"left out", errors.ErrUnsupported}}}
	if err := bench(&first, &o, run, files{json: file}); err != nil {
		t.Fatal(err)
	}
	r, err := record.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Machine.CPUs) == 0 || r.Machine.Kernel == "" || !strings.HasPrefix(r.Go, "go") || r.Date.IsZero() || len(r.Command) == 0 || !r.Short {
		t.Errorf("the record does not say where it is from: %+v", r.Machine)
	}
	for _, l := range r.Lines {
		if l.Row != "a Set without processes" && !strings.HasPrefix(l.Row, "warm, two CPUs") {
			t.Errorf("row %q was not wanted", l.Row)
		}
		if l.NotMeasured == "" && l.Takes == 0 && l.Unit != record.Count {
			t.Errorf("%s, %s: neither a result nor why there is none", l.Row, l.What)
		}
	}
	if err := bench(&second, &o, run, files{compare: file}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(second.String(), "VERDICT") {
		t.Errorf("nothing was compared:\n%s", second.String())
	}
	for _, c := range []struct {
		o    options
		run  string
		f    files
		want string
	}{
		{options{}, "", files{}, "-rounds"},
		{options{rounds: 1}, "(", files{}, "-run"},
		{options{rounds: 1}, "x", files{compare: file + ".no"}, "-compare"},
	} {
		if err := bench(&second, &c.o, c.run, c.f); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v does not name %s", err, c.want)
		}
	}
}
