package sys

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// KillTimeout is how long a process may take to end, and to be reaped, once it was killed.
const KillTimeout = 500 * time.Millisecond

// ErrTraced is matched by a [StuckError] of a process that somebody else traces.
var ErrTraced = errors.New("it is traced by somebody else")

// A StuckError says why a process that was killed cannot be reaped.
type StuckError struct {
	PID    int
	Tracer int    // its process id, 0 if there is none
	State  string // as in /proc/PID/status, "" if that is not known
}

func (e *StuckError) Error() string {
	why := "process " + strconv.Itoa(e.PID) + " was killed and has not ended"
	switch {
	case e.Tracer != 0:
		why = fmt.Sprintf("process %d was killed, but is traced by process %d (TracerPid), and cannot be reaped before that lets go", e.PID, e.Tracer)
	case strings.HasPrefix(e.State, "D"):
		why += ": it waits in the kernel, as for a file system that does not answer"
	case e.State != "":
		why += ": its state is " + e.State
	}
	return why + "; " + ErrLeftBehind.Error()
}

// Is makes it match [ErrLeftBehind], and ErrTraced where that is so.
func (e *StuckError) Is(target error) bool {
	return target == ErrLeftBehind || target == ErrTraced && e.Tracer != 0
}

// Stuck asks why a child of this process that was killed cannot be reaped.
func Stuck(pid int) *StuckError {
	e := &StuckError{PID: pid}
	e.State = statusField(pid, "State")
	e.Tracer, _ = strconv.Atoi(statusField(pid, "TracerPid"))
	if e.Tracer == 0 && strings.HasPrefix(e.State, "Z") {
		e.lookAtThreads()
	}
	return e
}

// Killed reports whether a process is dead and was not reaped, or was sent SIGKILL and has not
// ended.
func Killed(pid int) bool {
	if strings.HasPrefix(statusField(pid, "State"), "Z") {
		return true
	}
	for _, pending := range []string{"SigPnd", "ShdPnd"} {
		set, err := strconv.ParseUint(statusField(pid, pending), 16, 64)
		if err == nil && set&(1<<(unix.SIGKILL-1)) != 0 {
			return true
		}
	}
	return false
}

// lookAtThreads: the first thread is a zombie while another one is held.
func (e *StuckError) lookAtThreads() {
	dir := fmt.Sprintf("/proc/%d/task", e.PID)
	tasks, _ := os.ReadDir(dir)
	for _, t := range tasks {
		status := dir + "/" + t.Name() + "/status"
		if n, _ := strconv.Atoi(field(status, "TracerPid")); n != 0 {
			e.Tracer = n
		}
		if state := field(status, "State"); strings.HasPrefix(state, "D") {
			e.State = state
		}
	}
}

func statusField(pid int, name string) string {
	return field(fmt.Sprintf("/proc/%d/status", pid), name)
}

func field(path, name string) string {
	b, _ := os.ReadFile(path)
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
