package reexec

import (
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
)

// The Go runtime ends a program that can have no more threads, or no more memory. Then it advises to
// raise a limit of the user (ulimit -u), whichever limit was reached.
var (
	noThread = []string{"failed to create new OS thread", "pthread_create failed"} // the second one: with cgo
	noMemory = []string{"out of memory", "cannot allocate memory", "Cannot allocate memory"}
)

// limitReached says which limit a worker has probably reached that crashed with these words, or "".
func (p *process) limitReached(crash string) string {
	says := func(texts []string) bool {
		for _, t := range texts {
			if strings.Contains(crash, t) {
				return true
			}
		}
		return false
	}
	switch {
	case says(noMemory):
		return p.suspects(unix.RLIMIT_AS, unix.RLIMIT_DATA)
	case !says(noThread):
		return ""
	}
	own, _ := procfs.ReadFile("self/cgroup", 1<<16)
	files := cgroupFiles(p.owner.opts.Cgroup, own, "pids", "pids.max", "pids.max")
	most, file := refusedTasks(files, func(file string) string {
		b, _ := os.ReadFile(file)
		return string(b)
	})
	if file == "" {
		return p.suspects(unix.RLIMIT_NPROC)
	}
	return fmt.Sprintf("probably for lack of threads: its cgroup may have %d processes and threads (%s), and more were refused (pids.events)", most, file)
}

// refusedTasks returns the first of the files that has a limit, if the kernel has refused a process
// or thread for one. Before Linux 6.11, it counts that in the cgroup of the process, not in the one
// that has the limit.
func refusedTasks(files []string, read func(file string) string) (most uint64, file string) {
	refused := false
	for _, f := range files {
		refused = refused || countIn(read(path.Join(path.Dir(f), "pids.events")), "max") > 0
		if n, err := strconv.ParseUint(strings.TrimSpace(read(f)), 10, 64); err == nil && file == "" {
			most, file = n, f
		}
	}
	if !refused {
		return 0, ""
	}
	return most, file
}

// suspects names those of the resources that the worker has a limit of, or is "".
func (p *process) suspects(resources ...int) string {
	var set, inherited []Rlimit
	for _, resource := range resources {
		switch r, own := p.rlimit(resource); {
		case r.Soft == unix.RLIM_INFINITY:
		case own:
			set = append(set, r)
		default:
			inherited = append(inherited, r)
		}
	}
	if len(set) > 0 {
		return suspect(set)
	}
	if len(inherited) > 0 {
		return "possibly because of a limit of this program, which the worker inherits: " + limitList(inherited)
	}
	return ""
}

// rlimit is a limit that the worker has. own says that it was set for the worker.
func (p *process) rlimit(resource int) (r Rlimit, own bool) {
	for _, r := range p.owner.opts.Rlimits {
		if r.Resource == resource {
			return r, true
		}
	}
	l := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	_ = unix.Getrlimit(resource, &l)
	return Rlimit{Resource: resource, Soft: l.Cur, Hard: l.Max}, false
}
