package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// makeUserAndLauncher runs the benchmark that can see the launcher, which is
// internal to the library.
func makeUserAndLauncher(o *options) ([]line, error) {
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
	const lim = limit(2)
	return []line{{name, "the launcher alone, start to reaped", formatTime(time.Duration(metric["launcher-ns"])),
		formatTime(time.Duration(metric["create-ns"])), lim.ratio(ratio), lim.String(), lim.reached(ratio)}}, nil
}

// A heapProcess is this program with so much live heap.
type heapProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startHeap(mib int) (*heapProcess, error) {
	h := &heapProcess{cmd: asRole("bench-heap", strconv.Itoa(mib))}
	var err error
	if h.in, err = h.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	h.out = bufio.NewScanner(out)
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	if s, err := h.answer(); err != nil || s != "ready" {
		h.stop()
		return nil, errors.Join(err, fmt.Errorf("a process with %d MiB of heap said %q", mib, s))
	}
	return h, nil
}

func (h *heapProcess) answer() (string, error) {
	if !h.out.Scan() {
		return "", errors.Join(h.out.Err(), io.ErrUnexpectedEOF)
	}
	if what, ok := strings.CutPrefix(h.out.Text(), "error "); ok {
		return "", errors.New(what)
	}
	return h.out.Text(), nil
}

func (h *heapProcess) time(op string, n int) (time.Duration, error) {
	fmt.Fprintln(h.in, op, n)
	s, err := h.answer()
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(s, 10, 64)
	return time.Duration(ns), err
}

func (h *heapProcess) stop() error {
	h.in.Close()
	return h.cmd.Wait()
}

// flatInHeap does the same in two processes in turns, one of which has a heap.
func flatInHeap(o *options) (lines []line, err error) {
	heap := 2 << 10
	if o.short {
		heap = 32
	}
	if _, err := (&race{}).made(gonso.User); err != nil {
		return nil, err
	}
	empty, err := startHeap(0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, empty.stop()) }()
	full, err := startHeap(heap)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, full.stop()) }()
	for _, op := range []struct {
		name, what string
		limit      limit
	}{
		{"unshare", fmt.Sprintf("Unshare(User), %d MiB live heap", heap), 1.2},
		{"cold", fmt.Sprintf("process Do, cold, %d MiB live heap", heap), 1.2},
		{"pidtime", fmt.Sprintf("  with pid and time, %d MiB live heap", heap), 1.2},
		{"command", fmt.Sprintf("Command of /bin/true, %d MiB live heap", heap), 1.2},
		{"exec", "  os/exec of a static ELF", 0},
		{"fork", "  os/exec of it with CLONE_NEWUSER", 0},
	} {
		of := func(h *heapProcess) func(int) (time.Duration, error) {
			return func(n int) (time.Duration, error) { return h.time(op.name, n) }
		}
		r := race{ways: []way{{"0 MiB", of(empty)}, {"full", of(full)}}}
		res, err := r.time(o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op.name, err)
		}
		ratio := median(ratios(res[1], res[0]))
		lines = append(lines, line{op.what, "the same at 0 MiB", formatTime(median(res[0])), formatTime(median(res[1])),
			op.limit.ratio(ratio), op.limit.String(), op.limit.reached(ratio)})
	}
	return lines, nil
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
func emptySet(*options) (lines []line, err error) {
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
		lines = append(lines, line{what: what, takes: fmt.Sprintf("%.2f", got), target: target, reached: reached(ok)})
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
func idleWorker(*options) ([]line, error) {
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
	mib := func(n int) string { return fmt.Sprintf("%.2f MiB", float64(n)/(1<<20)) }
	return []line{{"idle worker, private memory", "this program blocked in main", mib(base), mib(mem), "+" + mib(mem-base), "≤ +5 MiB", reached(mem-base <= limit)}}, nil
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
