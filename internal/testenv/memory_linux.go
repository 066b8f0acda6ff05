package testenv

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// memoryTops are the places where the memory controller may be, and the files there for limits and
// members.
var memoryTops = []struct{ top, limit, swap string }{
	{"/sys/fs/cgroup", "memory.max", "memory.swap.max"},
	{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", ""},
}

// LimitedMemory makes a cgroup whose members have so many bytes of memory, until the test ends. A process joins
// it by writing its id to the file that is returned.
func LimitedMemory(t testing.TB, bytes int) (join string) {
	t.Helper()
	Need(t, MemoryCgroup)
	dir, err := memoryCgroup(bytes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		Eventually(t, "the cgroup has no members", func() bool { return os.Remove(dir) == nil })
	})
	return filepath.Join(dir, "cgroup.procs")
}

func memoryCgroup(bytes int) (dir string, err error) {
	for _, m := range memoryTops {
		if dir, err = os.MkdirTemp(m.top, "gonso-test-"); err != nil {
			continue
		}
		if err = put(filepath.Join(dir, m.limit), strconv.Itoa(bytes)); err == nil {
			if m.swap != "" {
				_ = put(filepath.Join(dir, m.swap), "0") // this file may be missing
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

func noMemoryCgroup() string {
	dir, err := memoryCgroup(1 << 30)
	if err != nil {
		return err.Error()
	}
	os.Remove(dir)
	return ""
}
