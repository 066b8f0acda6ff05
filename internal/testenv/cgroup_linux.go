package testenv

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// controller is a place where a cgroup controller may be, its file for the limit, and one for swap.
type controller struct{ top, limit, swap string }

var (
	memoryTops = []controller{
		{"/sys/fs/cgroup", "memory.max", "memory.swap.max"},
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", ""},
	}
	pidsTops = []controller{
		{"/sys/fs/cgroup", "pids.max", ""},
		{"/sys/fs/cgroup/pids", "pids.max", ""},
	}
)

// LimitedMemory makes a cgroup whose members have so many bytes of memory, until the test ends. A
// process joins it by writing its id to the file that is returned.
func LimitedMemory(t testing.TB, bytes int) (join string) {
	t.Helper()
	Need(t, MemoryCgroup)
	return limited(t, memoryTops, bytes)
}

// LimitedTasks is LimitedMemory for the number of processes and threads.
func LimitedTasks(t testing.TB, n int) (join string) {
	t.Helper()
	Need(t, PidsCgroup)
	return limited(t, pidsTops, n)
}

func limited(t testing.TB, tops []controller, limit int) (join string) {
	t.Helper()
	dir, err := limitedCgroup(tops, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		Eventually(t, "the cgroup has no members", func() bool { return os.Remove(dir) == nil })
	})
	return filepath.Join(dir, "cgroup.procs")
}

func limitedCgroup(tops []controller, limit int) (dir string, err error) {
	for _, c := range tops {
		if dir, err = os.MkdirTemp(c.top, "gonso-test-"); err != nil {
			continue
		}
		if err = put(filepath.Join(dir, c.limit), strconv.Itoa(limit)); err == nil {
			if c.swap != "" {
				_ = put(filepath.Join(dir, c.swap), "0") // this file may be missing
			}
			return dir, nil
		}
		os.Remove(dir)
	}
	return "", err
}

// put writes to an existing file. If no cgroups are mounted, it makes no file.
func put(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(content)
	return err
}

func noMemoryCgroup() string { return noCgroup(memoryTops, 1<<30) }
func noPidsCgroup() string   { return noCgroup(pidsTops, 1<<20) }

func noCgroup(tops []controller, limit int) string {
	dir, err := limitedCgroup(tops, limit)
	if err != nil {
		return err.Error()
	}
	os.Remove(dir)
	return ""
}
