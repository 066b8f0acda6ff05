package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gonso/gonso/integration/bench/record"
)

// results have a line of each kind that is drawn, and some that are not.
func results() *record.Record {
	r := &record.Record{
		Command: []string{"bench", "-json", "a<b>&c.json"}, Date: time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), Go: "go1.26", User: "root",
		Machine: record.Machine{Kernel: "6.18", Arch: "amd64", Processor: "a processor", CPUs: []int{0, 1}}, Rounds: 9,
	}
	for _, mib := range []float64{0, 512, 2048} {
		r.Lines = append(r.Lines,
			record.Line{Row: "flat in heap", What: fmt.Sprint("flat ", mib), Series: "Unshare(User)", Param: mib, Takes: 4e5},
			record.Line{Row: "flat in heap", What: fmt.Sprint("fork ", mib), Series: "  os/exec of it", Param: mib, Takes: 4e5 + mib*1e4})
	}
	cpu := 5e3
	for _, placement := range []string{"one CPU", "two CPUs", "free"} {
		for _, what := range []string{"gonso, call", "ttrpc & co"} {
			for _, callers := range []int{1, 4, 64} {
				pace := "back to back"
				if callers > 1 {
					pace = fmt.Sprintf("%d callers", callers)
				}
				r.Lines = append(r.Lines, record.Line{Row: "warm, " + placement + ", " + pace, What: what, Placement: placement, Pace: pace, Callers: callers,
					Calls: &record.Calls{P50: 2e4, P90: 3e4, P99: 9e4, WorkerCPU: &cpu, PerSecond: 1e4 * float64(callers)}})
			}
		}
		r.Lines = append(r.Lines, record.Line{Row: "warm", What: "closure", Placement: placement, Pace: "back to back", NotMeasured: "it needs root"})
	}
	return r
}

// texts parses an SVG, and gives what is written in it.
func texts(t *testing.T, file string) (all []string) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := xml.NewDecoder(f)
	root, inText := "", false
	for {
		tok, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			if root == "" {
				root = tok.Name.Local
			}
			inText = tok.Name.Local == "text"
		case xml.EndElement:
			inText = false
		case xml.CharData:
			if inText {
				all = append(all, string(tok))
			}
		}
	}
	if root != "svg" {
		t.Errorf("%s: the root is %q", file, root)
	}
	return all
}

func TestPlots(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "plots")
	file := filepath.Join(t.TempDir(), "results.json")
	if err := results().WriteFile(file); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{dir, file}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"heap.svg":    {"Unshare(User)", "os/exec of it", "2048", "MiB of live heap"},
		"callers.svg": {"gonso, call", "ttrpc & co", "64", "callers at once"},
		"peers.svg":   {"gonso, call", "ttrpc & co", "one CPU", "two CPUs", "free", "µs"},
	} {
		got := texts(t, filepath.Join(dir, name))
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%s: no text %q in %q", name, w, got)
			}
		}
		all := strings.Join(got, " ")
		for _, w := range []string{"2026-11-26", "bench -json a<b>&c.json", "6.18", "a processor"} {
			if !strings.Contains(all, w) {
				t.Errorf("%s: it does not say %q of what made it: %s", name, w, all)
			}
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), "fill:#FFFFFF") {
			t.Errorf("%s: it has no white background", name)
		}
	}
	if got := texts(t, filepath.Join(dir, "peers.svg")); slices.Contains(got, "closure") {
		t.Errorf("what was not measured is drawn: %q", got)
	}
}

// TestPartsOfResults draws what there is, and fails if there is nothing.
func TestPartsOfResults(t *testing.T) {
	r := results()
	r.Lines = slices.DeleteFunc(r.Lines, func(l record.Line) bool { return l.Row == "flat in heap" || l.Placement == "free" })
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "results.json")
	if err := r.WriteFile(file); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{dir, file}); err != nil {
		t.Fatal(err)
	}
	if got := texts(t, filepath.Join(dir, "callers.svg")); !slices.Contains(got, "Calls to another process, placement: one CPU") {
		t.Errorf("without a free placement: %q", got)
	}
	if _, err := os.Stat(filepath.Join(dir, "heap.svg")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("heap.svg without results: %v", err)
	}
	r.Lines = nil
	if err := r.WriteFile(file); err != nil {
		t.Fatal(err)
	}
	if err := run([]string{t.TempDir(), file}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("without any results: %v", err)
	}
	if err := run([]string{"only one"}); err == nil || !strings.Contains(err.Error(), "usage") {
		t.Errorf("with one argument: %v", err)
	}
}
