package single

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/gonso/gonso/integration/bench/record"
)

// A Contestant is one way of doing what is measured.
type Contestant struct {
	Name string
	// Open makes everything ready, for so many callers at once.
	Open func(callers int) (*Opened, error)
}

// Opened is a Contestant that is ready.
type Opened struct {
	// Call does it once. Callers have numbers from 0.
	Call func(caller int) error
	// PID is the process at the other end, 0 if there is none.
	PID int
	// Switches counts the context switches of that process. Nil counts those of its threads as
	// /proc has them, which forgets threads that have ended.
	Switches func() (int64, error)
	// Locked keeps the only caller on its thread.
	Locked bool
	Close  func() error
}

// A Turn says how to call.
type Turn struct {
	For     time.Duration // how long, back to back
	N       int           // or how often
	Gap     time.Duration // how long to wait before each call, 0 for back to back
	Callers int
}

// samples are kept, so that a turn does not allocate them.
var samples [][]float64

// measure makes the calls of a turn.
func measure(o *Opened, t Turn) (c record.Calls, err error) {
	for len(samples) < t.Callers {
		samples = append(samples, make([]float64, 0, 1<<12))
	}
	errs := make([]error, t.Callers)
	loop := func(caller int, end time.Time) {
		took := samples[caller][:0]
		for {
			if t.Gap > 0 {
				time.Sleep(t.Gap)
			}
			start := time.Now()
			if err := o.Call(caller); err != nil {
				errs[caller] = err
				break
			}
			now := time.Now()
			took = append(took, float64(now.Sub(start)))
			if t.N > 0 && len(took) >= t.N || t.N == 0 && now.After(end) {
				break
			}
		}
		samples[caller] = took
	}
	if o.Locked {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
	}
	// Where usage comes by a call, the way from the first to the second is what that costs.
	before, err := usageOf(o)
	if err != nil {
		return c, err
	}
	var asking int64
	if o.Switches != nil {
		first := before.workerSwitches
		if before, err = usageOf(o); err != nil {
			return c, err
		}
		asking = before.workerSwitches - first
	}
	start := time.Now()
	if t.Callers == 1 {
		loop(0, start.Add(t.For))
	} else {
		var all sync.WaitGroup
		for i := range t.Callers {
			all.Go(func() { loop(i, start.Add(t.For)) })
		}
		all.Wait()
	}
	took := time.Since(start)
	after, err := usageAfter(o)
	if err = errors.Join(append(errs, err)...); err != nil {
		return c, err
	}
	var v []float64
	for _, s := range samples[:t.Callers] {
		v = append(v, s...)
	}
	slices.Sort(v)
	n := float64(len(v))
	c = record.Calls{
		N: len(v), P50: record.Percentile(v, 50), P90: record.Percentile(v, 90), P99: record.Percentile(v, 99),
		CallerCPU:      float64(after.caller-before.caller) / n,
		CallerSwitches: float64(after.callerSwitches-before.callerSwitches) / n,
		CallerAllocs:   float64(after.mallocs-before.mallocs) / n,
		PerSecond:      n / took.Seconds(),
	}
	if o.PID != 0 {
		cpu := float64(after.worker-before.worker) / n
		sw := float64(max(0, after.workerSwitches-before.workerSwitches-asking)) / n
		c.WorkerCPU, c.WorkerSwitches = &cpu, &sw
	}
	return c, nil
}

// open opens a contestant, calls it some times, and pins what it has at the other end.
func open(c Contestant, callers int, workerCPUs []int) (*Opened, error) {
	o, err := c.Open(callers)
	if err != nil {
		return nil, err
	}
	for i := range 10 * callers {
		if err == nil {
			err = o.Call(i % callers)
		}
	}
	if err == nil && o.PID != 0 && len(workerCPUs) > 0 {
		err = pinProcess(o.PID, workerCPUs)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", c.Name, err), o.Close())
	}
	return o, nil
}
