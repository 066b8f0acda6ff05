package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/integration/bench/record"
)

// makeUserAndLauncher runs the benchmark that can see the launcher, which is
// internal to the library.
func makeUserAndLauncher(o *options) ([]record.Line, error) {
	const name = "Unshare(User) and the launcher"
	times := fmt.Sprintf("%dx", o.rounds*150)
	if o.short {
		times = "1x"
	}
	const pkg = "github.com/gonso/gonso/reexec"
	if err := exec.Command("go", "list", pkg).Run(); err != nil {
		return nil, &notHere{"needs the go command in the source tree", err}
	}
	out, err := exec.Command("go", "test", "-run=^$", "-bench=^BenchmarkCreateUser$", "-benchtime="+times, pkg).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	metric := make(map[string]float64)
	for l := range strings.Lines(string(out)) {
		if f := strings.Fields(l); len(f) > 0 && strings.HasPrefix(f[0], "BenchmarkCreateUser") {
			for i := 2; i+1 < len(f); i += 2 {
				metric[f[i+1]], _ = strconv.ParseFloat(f[i], 64)
			}
		}
	}
	ratio := metric["ratio"]
	if ratio == 0 {
		return nil, &notHere{"needs user namespaces", fmt.Errorf("go test printed %q", out)}
	}
	const lim = record.Limit(2)
	return []record.Line{{What: name, Floor: "the launcher alone, start to reaped", FloorTime: metric["launcher-ns"],
		Takes: metric["create-ns"], Ratio: ratio, Limit: lim, Reached: lim.Reached(ratio)}}, nil
}

// usage counts what this process has.
type usage struct{ descriptors, children, threads int }

func currentUsage() (u usage, err error) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return u, err
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return u, err
	}
	u.descriptors, u.threads = len(fds), len(tasks)
	for _, t := range tasks {
		b, err := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) { // the thread has ended
			return u, err
		}
		u.children += len(bytes.Fields(b))
	}
	return u, nil
}

// emptySet counts what a hundred Sets hold, by comparison with two hundred: the
// first ones make the runtime start threads, which are not theirs.
func emptySet(*options) (lines []record.Line, err error) {
	types := gonso.User | gonso.Net | gonso.UTS
	var sets []*gonso.Set
	defer func() {
		for _, s := range sets {
			s.Close()
		}
	}()
	const n = 100
	var before usage
	for i := range 2 * n {
		if i == n {
			if before, err = currentUsage(); err != nil {
				return nil, err
			}
		}
		s, err := gonso.Unshare(types)
		if err != nil {
			return nil, possible("needs user namespaces", err)
		}
		sets = append(sets, s)
	}
	after, err := currentUsage()
	if err != nil {
		return nil, err
	}
	add := func(what, target string, got float64, ok bool) {
		lines = append(lines, record.Line{What: what, Unit: record.Count, Takes: got, Target: target, Reached: &ok})
	}
	fds := float64(after.descriptors-before.descriptors) / n / 3
	add("a Set's descriptors, for each type", "1", fds, fds == 1)
	procs := float64(after.children-before.children) / n
	add("a Set's processes", "0", procs, procs == 0)
	// The runtime may start one more at any time.
	threads := float64(after.threads-before.threads) / n
	add("a Set's threads", "0", threads, threads < 0.05)
	return lines, nil
}

// idleWorker compares the memory that a worker has to itself with that of this
// program stopped before it does anything.
func idleWorker(*options) ([]record.Line, error) {
	s, err := gonso.Unshare(gonso.User | gonso.Net)
	if err != nil {
		return nil, possible("needs user namespaces", err)
	}
	defer s.Close()
	worker, err := pid.Do(context.Background(), s, struct{}{})
	for range 100 {
		if err == nil {
			err = call(s)
		}
	}
	if err != nil {
		return nil, err
	}
	blocked := asRole("bench-block")
	in, err := blocked.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := blocked.Start(); err != nil {
		return nil, err
	}
	defer blocked.Wait()
	defer in.Close()
	if err := untilRead(blocked.Process.Pid); err != nil {
		return nil, err
	}
	base, err := privateMemory(blocked.Process.Pid)
	if err != nil {
		return nil, err
	}
	mem, err := privateMemory(worker)
	if err != nil {
		return nil, possible("the worker's memory map", err)
	}
	const limit = 5 << 20
	ok := mem-base <= limit
	return []record.Line{{What: "idle worker, private memory", Unit: record.Bytes, Floor: "this program blocked in main",
		FloorTime: float64(base), Takes: float64(mem), Target: "≤ +5 MiB", Reached: &ok}}, nil
}

// untilRead waits until the main goroutine of pid blocks in read(2).
func untilRead(pid int) error {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		for _, t := range tasks {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/wchan", pid, t.Name()))
			if err == nil && strings.Contains(string(b), "pipe_read") {
				return nil
			}
		}
	}
	return errors.New("it did not come to block")
}

func privateMemory(pid int) (bytes int, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(b)) {
		var kb int
		if f := strings.Fields(l); len(f) == 3 && strings.HasPrefix(f[0], "Private_") {
			if kb, err = strconv.Atoi(f[1]); err != nil {
				return 0, err
			}
			bytes += kb << 10
		}
	}
	return bytes, nil
}
