package single

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// cpuTime is what a process has used, in nanoseconds and with its threads that have ended: its CPU
// clock, which clock_getcpuclockid(3) would give. 0 is this process.
func cpuTime(pid int) (time.Duration, error) {
	clock := int32(unix.CLOCK_PROCESS_CPUTIME_ID)
	if pid != 0 {
		const sched = 2
		clock = int32(^pid)<<3 | sched
	}
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(t.Nano()), nil
}

// ownSwitches counts context switches of this process.
func ownSwitches() (int64, error) {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0, os.NewSyscallError("getrusage", err)
	}
	return int64(u.Nvcsw) + int64(u.Nivcsw), nil
}

// switches counts those of the threads that a process has.
func switches(pid int) (n int64, err error) {
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0, err
	}
	for _, t := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", pid, t.Name()))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return 0, err
		}
		for line := range bytes.Lines(b) {
			if name, value, ok := bytes.Cut(line, []byte("ctxt_switches:")); ok && len(name) > 0 {
				v, err := strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
				if err != nil {
					return 0, err
				}
				n += v
			}
		}
	}
	return n, nil
}

// usage is what both sides have used up to now.
type usage struct {
	caller, worker                 time.Duration
	callerSwitches, workerSwitches int64
	mallocs                        uint64
}

// usageOf reads the worker's switches first, as its answer may come by a call.
func usageOf(o *Opened) (u usage, err error) {
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	u.mallocs = mem.Mallocs
	if o.PID != 0 {
		if u.workerSwitches, err = o.workerSwitches(); err != nil {
			return u, err
		}
		if u.worker, err = cpuTime(o.PID); err != nil {
			return u, err
		}
	}
	if u.callerSwitches, err = ownSwitches(); err != nil {
		return u, err
	}
	u.caller, err = cpuTime(0)
	return u, err
}

// usageAfter reads in the other order, so that reading is in neither.
func usageAfter(o *Opened) (u usage, err error) {
	if u.caller, err = cpuTime(0); err != nil {
		return u, err
	}
	if u.callerSwitches, err = ownSwitches(); err != nil {
		return u, err
	}
	if o.PID != 0 {
		if u.worker, err = cpuTime(o.PID); err != nil {
			return u, err
		}
		if u.workerSwitches, err = o.workerSwitches(); err != nil {
			return u, err
		}
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	u.mallocs = mem.Mallocs
	return u, nil
}

func (o *Opened) workerSwitches() (int64, error) {
	if o.Switches != nil {
		return o.Switches()
	}
	return switches(o.PID)
}
