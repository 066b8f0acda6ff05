package single

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Allowed lists the CPUs that this thread may use.
func Allowed() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, os.NewSyscallError("sched_getaffinity", err)
	}
	var cpus []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus, nil
}

func setOf(cpus []int) *unix.CPUSet {
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	return &set
}

// startPinned starts cmd on these CPUs: a child has those of the thread that forks. The thread is
// put back.
func startPinned(cmd *exec.Cmd, cpus []int) error {
	runtime.LockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		runtime.UnlockOSThread()
		return os.NewSyscallError("sched_getaffinity", err)
	}
	err := os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, setOf(cpus)))
	if err == nil {
		err = cmd.Start()
	}
	if back := unix.SchedSetaffinity(0, &before); back != nil {
		return errors.Join(err, os.NewSyscallError("sched_setaffinity", back)) // still locked: no other work is to run here
	}
	runtime.UnlockOSThread()
	return err
}

// pinProcess pins all threads of a process. A new one has the CPUs of the one that made it: when
// none is new any more, all that come are pinned.
func pinProcess(pid int, cpus []int) error {
	set, done := setOf(cpus), make(map[int]bool)
	for range 100 {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		fresh := false
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil {
				return err
			}
			if done[tid] {
				continue
			}
			if err := unix.SchedSetaffinity(tid, set); err != nil && !errors.Is(err, unix.ESRCH) {
				return os.NewSyscallError("sched_setaffinity", err)
			}
			done[tid], fresh = true, true
		}
		if !fresh {
			return nil
		}
	}
	return fmt.Errorf("process %d: it starts threads faster than they can be pinned", pid)
}
