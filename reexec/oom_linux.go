package reexec

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gonso/gonso/internal/procfs"
)

// The kernel counts the processes that it kills because memory is short: on the system
// (/proc/vmstat), and in each cgroup (memory.events of cgroup v2, memory.oom_control of v1). It
// counts a process before that process is dead.

// oomCount has the counts at some time.
type oomCount struct {
	system, group int64  // -1 if it is not known
	file          string // the file that group was read from
	at            time.Time
}

// oomFresh is how long a reading is used for workers that come up.
const oomFresh = time.Second

var oomLast = struct {
	sync.Mutex
	of map[string]oomCount // by cgroup; "" is this process's own
}{of: make(map[string]oomCount)}

// countOOM gives a reading that is not older than oomFresh.
func countOOM(cgroup string) oomCount {
	oomLast.Lock()
	defer oomLast.Unlock()
	if c, ok := oomLast.of[cgroup]; ok && time.Since(c.at) < oomFresh {
		return c
	}
	c := readOOM(cgroup)
	if cgroup == "" { // other cgroups come and go
		oomLast.of[cgroup] = c
	}
	return c
}

func readOOM(cgroup string) oomCount {
	c := oomCount{system: -1, group: -1, at: time.Now()}
	if text, err := procfs.ReadFile("vmstat", 1<<20); err == nil {
		c.system = countIn(text, "oom_kill")
	}
	own, _ := procfs.ReadFile("self/cgroup", 1<<16)
	for _, file := range cgroupFiles(cgroup, own, "memory", "memory.oom_control", "memory.events") {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if n := countIn(string(b), "oom_kill"); n >= 0 {
			c.group, c.file = n, file
			break
		}
	}
	return c
}

// countIn returns the number after a name at the beginning of a line, or -1.
func countIn(text, name string) int64 {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
				return n
			}
		}
	}
	return -1
}

// since explains a SIGKILL by the processes that were counted since then.
func (c *oomCount) since(now oomCount) string {
	switch {
	case c.group >= 0 && now.file == c.file && now.group > c.group:
		return fmt.Sprintf("probably by the kernel, for lack of memory: meanwhile it has killed %s of the cgroup for that (oom_kill in %s)", processes(now.group-c.group), c.file)
	case c.system >= 0 && now.system > c.system:
		return fmt.Sprintf("possibly by the kernel, for lack of memory: meanwhile it has killed %s on this system for that (oom_kill in /proc/vmstat)", processes(now.system-c.system))
	case c.system >= 0 && now.system == c.system:
		return "by another process: neither by gonso, nor by the kernel for lack of memory (oom_kill in /proc/vmstat)"
	}
	return ""
}

func processes(n int64) string {
	if n == 1 {
		return "1 process"
	}
	return fmt.Sprintf("%d processes", n)
}
