package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// report is what a test binary said, or several.
type report struct {
	passed, failed, skipped int
	reasons                 map[string]int // of skips
	complete                bool           // it said PASS
	nothing                 bool           // none can run here
	all, failures           []byte
}

func (r *report) add(o *report) {
	r.passed, r.failed, r.skipped = r.passed+o.passed, r.failed+o.failed, r.skipped+o.skipped
	for reason, n := range o.reasons {
		r.skip(reason, n)
	}
}

func (r *report) skip(reason string, n int) {
	if r.reasons == nil {
		r.reasons = make(map[string]int)
	}
	r.reasons[reason] += n
}

// String is for the end of a package's line.
func (r *report) String() string {
	var parts []string
	for _, c := range []struct {
		n    int
		what string
	}{{r.passed, "passed"}, {r.failed, "failed"}, {r.skipped, "skipped"}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", c.n, c.what))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), "[no tests to run]")
}

// finish prints the last lines. CI counts by the very last one.
func (r *report) finish() {
	if r.skipped > 0 {
		var by []string
		for _, reason := range slices.SortedFunc(maps.Keys(r.reasons), func(a, b string) int {
			return cmp.Or(r.reasons[b]-r.reasons[a], strings.Compare(a, b))
		}) {
			by = append(by, fmt.Sprintf("%s %d", reason, r.reasons[reason]))
		}
		fmt.Printf("%d skipped: %s (-v says more)\n", r.skipped, strings.Join(by, ", "))
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
}

var (
	ended  = regexp.MustCompile(`^ *--- (PASS|FAIL|SKIP|BENCH): (.*) \([0-9.]+s\)`)
	reason = regexp.MustCompile(`skip: ([^:]*)`)
)

// readLog reads what was printed with -test.v=test2json. That mode puts a control character before
// the lines of the testing package itself, so nothing that a test prints counts.
func readLog(file string) *report {
	const mark = "\x16"
	text, err := os.ReadFile(file)
	if err != nil {
		text = []byte(err.Error())
	}
	r := &report{all: bytes.ReplaceAll(text, []byte(mark), nil)}
	// A test's output is kept until it is known how it ended; what never ended is printed at the end.
	kept := make(map[string]string)
	var order []string
	name, last := "", ""
	keep := func(s string) {
		if _, ok := kept[name]; !ok {
			order = append(order, name)
		}
		kept[name] += s
	}
	for line := range strings.Lines(string(text)) {
		before, own, marked := strings.Cut(line, mark)
		keep(before)
		if !marked {
			last = line
			continue
		}
		own = strings.TrimSuffix(own, "\n")
		if _, test, ok := strings.Cut(own, "=== "); ok {
			name = test[strings.LastIndexByte(test, ' ')+1:]
		} else if m := ended.FindStringSubmatch(own); m == nil {
			r.complete = r.complete || own == "PASS"
			keep(own + "\n")
		} else {
			switch m[1] {
			case "PASS":
				r.passed++
			case "FAIL":
				r.failed++
				r.failures = append(r.failures, kept[m[2]]+own+"\n"...)
			case "SKIP":
				r.skipped++
				why := "for no reason"
				if w := reason.FindStringSubmatch(last); w != nil {
					why = w[1]
				}
				r.skip(why, 1)
			}
			kept[m[2]] = ""
		}
		last = ""
	}
	for _, name := range order {
		r.failures = append(r.failures, kept[name]...)
	}
	return r
}

var terminal = func() bool {
	_, err := unix.IoctlGetTermios(1, unix.TCGETS)
	return err == nil
}()

// showStatus rewrites a line on the terminal that says what runs, until the function that it returns is called.
func showStatus(path, log string) func() {
	if !terminal || *mode != "" {
		return func() {}
	}
	begin, stop, stopped := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			test := ""
			if text, err := os.ReadFile(log); err == nil {
				if _, line, ok := bytes.Cut(text[max(bytes.LastIndex(text, []byte("=== RUN")), 0):], []byte("=== RUN")); ok {
					line, _, _ = bytes.Cut(line, []byte("\n"))
					test = " " + string(bytes.TrimSpace(line))
				}
			}
			fmt.Printf("\r\x1b[K%.100s", fmt.Sprintf("running %s %.0f s%s", path, time.Since(begin).Seconds(), test))
			select {
			case <-stop:
				clearStatus()
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

func clearStatus() {
	if terminal {
		fmt.Print("\r\x1b[K")
	}
}
