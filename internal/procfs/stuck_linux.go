package procfs

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// ErrTraced is matched by a [StuckError] of a process that somebody else traces.
var ErrTraced = errors.New("it is traced by somebody else")

// A StuckError says why a process that was killed cannot be reaped.
type StuckError struct {
	PID    int
	Tracer int    // the tracer's process id in the procfs, 0 if nobody traces
	State  string // as in /proc/PID/status, "" if it is not known
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
	return why + "; " + sys.ErrLeftBehind.Error()
}

// Is makes it match [sys.ErrLeftBehind], and also ErrTraced if the process is traced.
func (e *StuckError) Is(target error) bool {
	return target == sys.ErrLeftBehind || target == ErrTraced && e.Tracer != 0
}

// Stuck finds out why a killed child of this process cannot be reaped. Until the child is reaped,
// no other process can have its id.
func Stuck(pid int) *StuckError {
	e := &StuckError{PID: pid}
	d, err := Process(pid)
	if err != nil {
		return e
	}
	defer d.Close()
	status, _ := d.ReadFile("status", maxStatus)
	e.State = lineOf(status, "State")
	e.Tracer, _ = strconv.Atoi(lineOf(status, "TracerPid"))
	if e.Tracer == 0 && strings.HasPrefix(e.State, "Z") {
		e.lookAtThreads(d)
	}
	return e
}

// lookAtThreads: the first thread is a zombie while another one is held.
func (e *StuckError) lookAtThreads(d *Dir) {
	fd, err := beneath(d.fd, d.dev, "task", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	f := os.NewFile(uintptr(fd), d.String()+"/task")
	defer f.Close()
	tasks, _ := f.Readdirnames(-1)
	for _, t := range tasks {
		status, _ := d.ReadFile("task/"+t+"/status", maxStatus)
		if n, _ := strconv.Atoi(lineOf(status, "TracerPid")); n != 0 {
			e.Tracer = n
		}
		if state := lineOf(status, "State"); strings.HasPrefix(state, "D") {
			e.State = state
		}
	}
}

// Killed reports whether a child of this process is dead and was not reaped, or was sent SIGKILL and
// has not ended.
func Killed(pid int) bool {
	d, err := Process(pid)
	if err != nil {
		return false
	}
	defer d.Close()
	status, _ := d.ReadFile("status", maxStatus)
	if strings.HasPrefix(lineOf(status, "State"), "Z") {
		return true
	}
	for _, pending := range []string{"SigPnd", "ShdPnd"} {
		set, err := strconv.ParseUint(lineOf(status, pending), 16, 64)
		if err == nil && set&(1<<(unix.SIGKILL-1)) != 0 {
			return true
		}
	}
	return false
}
