package record

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPercentile(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		p    float64
		want float64
	}{
		{[]float64{7}, 99, 7},
		{[]float64{3, 1}, 50, 2},
		{[]float64{3, 1, 2}, 50, 2},
		{[]float64{4, 3, 2, 1, 0}, 90, 3.6},
		{[]float64{4, 3, 2, 1, 0}, 0, 0},
		{[]float64{4, 3, 2, 1, 0}, 100, 4},
	} {
		before := slices.Clone(c.v)
		if got := Percentile(c.v, c.p); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("Percentile(%v, %v) = %v, not %v", c.v, c.p, got, c.want)
		}
		if !slices.Equal(c.v, before) {
			t.Errorf("Percentile changed its argument to %v", c.v)
		}
	}
	hundred := make([]float64, 101)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, p := range []float64{50, 90, 99} {
		if got := Percentile(hundred, p); got != p {
			t.Errorf("Percentile(0..100, %v) = %v", p, got)
		}
	}
	if got := Percentile(nil, 50); !math.IsNaN(got) {
		t.Errorf("Percentile of nothing = %v", got)
	}
}

func TestRatiosAreRoundByRound(t *testing.T) {
	// Each round is as slow as its machine was then: the ratio is 2 in all of them.
	got := Ratios([]float64{2, 20, 200}, []float64{1, 10, 100})
	if !slices.Equal(got, []float64{2, 2, 2}) {
		t.Errorf("Ratios = %v", got)
	}
}

func TestNoise(t *testing.T) {
	if got := Noise([]float64{2, 2, 2, 2, 2}); got != 0 {
		t.Errorf("Noise of equal values = %v", got)
	}
	if got := Noise([]float64{1, 2, 3}); got != 1 {
		t.Errorf("Noise of three values = %v, not 1", got)
	}
	few, many := []float64{1, 2, 3, 4, 5}, []float64{}
	for range 20 {
		many = append(many, few...)
	}
	if Noise(many) >= Noise(few) {
		t.Errorf("more rounds are not less noise: %v, %v", Noise(many), Noise(few))
	}
	// A spread from 2 to 4 around 3, five values.
	if got, want := Noise(few), 1.57*2/math.Sqrt(5)/3; math.Abs(got-want) > 1e-9 {
		t.Errorf("Noise = %v, not %v", got, want)
	}
}

func TestMedianCalls(t *testing.T) {
	w := func(v float64) *float64 { return &v }
	got := MedianCalls([]Calls{
		{N: 10, P50: 1, P90: 4, P99: 9, CallerCPU: 5, WorkerCPU: w(3), CallerSwitches: 1, WorkerSwitches: w(2), CallerAllocs: 8, PerSecond: 30},
		{N: 20, P50: 3, P90: 6, P99: 7, CallerCPU: 7, WorkerCPU: w(1), CallerSwitches: 3, WorkerSwitches: w(8), CallerAllocs: 8, PerSecond: 10},
		{N: 30, P50: 2, P90: 5, P99: 8, CallerCPU: 6, WorkerCPU: w(2), CallerSwitches: 2, WorkerSwitches: w(4), CallerAllocs: 9, PerSecond: 20},
	})
	want := &Calls{N: 60, P50: 2, P90: 5, P99: 8, CallerCPU: 6, WorkerCPU: w(2), CallerSwitches: 2, WorkerSwitches: w(4), CallerAllocs: 8, PerSecond: 20}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got := MedianCalls([]Calls{{N: 1}}); got.WorkerCPU != nil || got.WorkerSwitches != nil {
		t.Errorf("without a worker: %+v", got)
	}
}

func TestCPUOfBothSides(t *testing.T) {
	worker := 3.
	if got := (Calls{CallerCPU: 4}).CPU(); got != 4 {
		t.Errorf("without a worker: %v", got)
	}
	if got := (Calls{CallerCPU: 4, WorkerCPU: &worker}).CPU(); got != 7 {
		t.Errorf("with a worker: %v", got)
	}
}

func TestLimit(t *testing.T) {
	for _, c := range []struct {
		l     Limit
		ratio float64
		ok    bool
		text  string
		shown string
	}{
		{1.5, 1.5, true, "≤ 1.5", "1.50"},
		{1.5, 1.51, false, "≤ 1.5", "1.51"},
		{-40, 1. / 41, true, "≥ 40 × faster", "1/41"},
		{-40, 1. / 39, false, "≥ 40 × faster", "1/39"},
	} {
		if got := c.l.Reached(c.ratio); got == nil || *got != c.ok {
			t.Errorf("%v reached by %v: %v", c.l, c.ratio, got)
		}
		if c.l.String() != c.text || c.l.Ratio(c.ratio) != c.shown {
			t.Errorf("%v is shown as %q, its ratio as %q", float64(c.l), c.l.String(), c.l.Ratio(c.ratio))
		}
	}
	if Limit(0).Reached(3) != nil {
		t.Error("no limit is reached, or not")
	}
}

func sample() *Record {
	yes, cpu := true, 3.5
	return &Record{
		Command: []string{"bench", "-json", "x"}, Date: time.Date(2026, 11, 26, 1, 2, 3, 0, time.UTC),
		Machine: Machine{Kernel: "6.18", Arch: "amd64", Processor: "p", CPUs: []int{0, 1}, MemoryMiB: 3, Load: "0"},
		Go:      "go1.26", User: "root", Rounds: 5,
		Lines: []Line{
			{Row: "a", What: "a", Takes: 20, Floor: "f", FloorTime: 10, Ratio: 2, Ratios: []float64{2, 2, 2, 2, 2}, Limit: 2.5, Reached: &yes},
			{Row: "b", What: "gonso", Placement: "one CPU", Pace: "back to back", Callers: 1, Takes: 30, Floor: "echo", FloorTime: 15, Ratio: 2,
				Ratios: []float64{2, 2, 2, 2, 2}, CPURatio: 4, CPURatios: []float64{4, 4, 4, 4, 4}, Calls: &Calls{N: 5, P50: 30, P90: 31, P99: 32, WorkerCPU: &cpu, PerSecond: 9}},
			{Row: "b", What: "peer", Placement: "one CPU", NotMeasured: "it needs root"},
			{Row: "c", What: "memory", Unit: Bytes, Takes: 5 << 20, Floor: "less", FloorTime: 3 << 20, Target: "≤ +5 MiB", Reached: &yes},
			{Row: "d", What: "d", NotMeasured: "there is one CPU only"},
		},
	}
}

func TestRoundTrip(t *testing.T) {
	file := filepath.Join(t.TempDir(), "r.json")
	want := sample()
	if err := want.WriteFile(file); err != nil {
		t.Fatal(err)
	}
	got, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if left, _ := filepath.Glob(file + "*"); len(left) != 1 {
		t.Errorf("files: %v", left)
	}
}

func TestReadSaysWhichFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "broken.json")
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("Read of half a file: %v", err)
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	if err := Table(&b, sample().Lines); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2.00", "≤ 2.5", "yes", "not measured: it needs root", "+2.00 MiB", "not measured: there is one CPU only", "P99"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, b.String())
		}
	}
}

func TestCompare(t *testing.T) {
	then, now := sample(), sample()
	now.Lines[0].Ratio, now.Lines[0].Ratios = 3, []float64{3, 3, 3, 3, 3}
	now.Lines[0].Takes = 1 // another machine: only ratios count
	now.Lines[1].Ratio, now.Lines[1].Ratios = 3, []float64{1, 1, 3, 5, 5}
	now.Lines[1].CPURatio, now.Lines[1].CPURatios = 3, []float64{3, 3, 3, 3, 3}
	now.Lines[3].Takes = 4 << 20
	now.Lines[4].NotMeasured, now.Lines[4].Takes = "", 7
	now.Lines = append(now.Lines, Line{Row: "e", What: "e", Takes: 1})
	then.Lines = append(then.Lines, Line{Row: "c", What: "part", Takes: 1}, Line{Row: "gone", What: "gone", Takes: 1})
	got := make(map[string]Change)
	for _, c := range Compare(then, now) {
		got[c.What] = c
	}
	for what, want := range map[string]string{
		"a": "WORSE", "gonso": "the same", "gonso: CPU": "better", "memory": "better", "d": "not measured then: there is one CPU only", "e": "new", "part": "not there now",
	} {
		if v := got[what].Verdict(); v != want {
			t.Errorf("%s: %q, not %q (%+v)", what, v, want, got[what])
		}
	}
	if c := got["a"]; c.Ratio != 1.5 || c.Noise != 0 {
		t.Errorf("row a: %+v", c)
	}
	if c := got["gonso"]; c.Ratio != 1.5 || c.Noise < 0.5 {
		t.Errorf("row b is noisier than that: %+v", c)
	}
	if _, ok := got["gone"]; ok || !slices.Equal(Unmeasured(then, now), []string{"gone"}) {
		t.Errorf("a row that was not measured: %+v, %q", got["gone"], Unmeasured(then, now))
	}
	now.Machine.Kernel, now.User = "7.0", "a plain user"
	if d := strings.Join(Differences(then, now), "; "); d != "kernel: 6.18 then, 7.0 now; user: root then, a plain user now" {
		t.Errorf("differences: %s", d)
	}
	var b bytes.Buffer
	if err := CompareTable(&b, then, now); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(b.String(), "WORSE") || !strings.Contains(b.String(), "not the same: kernel") {
		t.Errorf("the table:\n%s", b.String())
	}
}
