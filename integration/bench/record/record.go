// Package record has the results of the benchmark: how they are kept, printed and compared.
package record

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"
)

// A Record is one run of the benchmark.
type Record struct {
	Command []string  `json:"command"`
	Date    time.Time `json:"date"`
	Machine Machine   `json:"machine"`
	Go      string    `json:"go"`
	User    string    `json:"user"` // root, or a plain user
	Rounds  int       `json:"rounds"`
	Short   bool      `json:"short,omitempty"` // everything once: the figures mean nothing
	Lines   []Line    `json:"lines"`
}

// A Machine is where a run was.
type Machine struct {
	Kernel    string `json:"kernel"`
	Arch      string `json:"arch"`
	Processor string `json:"processor,omitempty"`
	CPUs      []int  `json:"cpus"` // those that the benchmark may use
	MemoryMiB int    `json:"memory_mib,omitempty"`
	Load      string `json:"load,omitempty"` // /proc/loadavg when the run began
}

// Units of what a Line has measured; the zero one is nanoseconds.
const (
	Bytes = "bytes"
	Count = "count"
)

// A Line is one result: what was measured, in most cases against a floor.
type Line struct {
	Row  string `json:"row"`
	What string `json:"what"`
	Unit string `json:"unit,omitempty"`

	Takes     float64 `json:"takes,omitempty"` // the median over rounds
	Floor     string  `json:"floor,omitempty"`
	FloorTime float64 `json:"floor_takes,omitempty"`
	// Ratio is the median of Ratios, which has a ratio for each round.
	Ratio  float64   `json:"ratio,omitempty"`
	Ratios []float64 `json:"ratios,omitempty"`

	// CPURatio and CPURatios are the same of the CPU time of a call, of both sides together.
	CPURatio  float64   `json:"cpu_ratio,omitempty"`
	CPURatios []float64 `json:"cpu_ratios,omitempty"`

	Limit   Limit  `json:"limit,omitempty"`  // what Ratio is to reach
	Target  string `json:"target,omitempty"` // what else is to be reached
	Reached *bool  `json:"reached,omitempty"`

	Placement string `json:"placement,omitempty"`
	Pace      string `json:"pace,omitempty"`
	Callers   int    `json:"callers,omitempty"`
	Calls     *Calls `json:"calls,omitempty"`

	// Param is what a series of lines of a row goes over: MiB of heap, for example.
	Series string  `json:"series,omitempty"`
	Param  float64 `json:"param,omitempty"`

	// NotMeasured is why there is no result.
	NotMeasured string `json:"not_measured,omitempty"`
}

// Calls is what single calls took: of one turn, or the medians of turns. Times are nanoseconds.
type Calls struct {
	N   int     `json:"n"` // calls of all turns
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	// For each call: CPU time, context switches, and allocations.
	CallerCPU      float64  `json:"caller_cpu"`
	WorkerCPU      *float64 `json:"worker_cpu,omitempty"` // nil if there is one process only
	CallerSwitches float64  `json:"caller_switches"`
	WorkerSwitches *float64 `json:"worker_switches,omitempty"`
	CallerAllocs   float64  `json:"caller_allocs"`
	PerSecond      float64  `json:"per_second"` // of all callers together
}

// CPU is the CPU time of both sides.
func (c Calls) CPU() float64 {
	if c.WorkerCPU == nil {
		return c.CallerCPU
	}
	return c.CallerCPU + *c.WorkerCPU
}

// Read reads a Record from a file.
func Read(file string) (*Record, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &r, nil
}

// Write writes the Record as JSON.
func (r *Record) Write(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// WriteFile writes the Record to a file, which is complete or not there.
func (r *Record) WriteFile(file string) error {
	f, err := os.Create(file + ".new")
	if err != nil {
		return err
	}
	err = r.Write(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
