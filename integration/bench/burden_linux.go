package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/integration/bench/record"
)

// A burden is something that a process has much of. Take gives a process n of it, and what is to be
// kept alive.
type burden struct {
	take func(n int) (keep any, err error)
	// prepare changes the command that starts the process.
	prepare func(cmd *exec.Cmd, n int)
}

var burdens = map[string]burden{
	"heap":        {take: takeHeap},
	"mounts":      {take: takeMounts, prepare: ownMounts},
	"Sets":        {take: takeSets},
	"descriptors": {take: takeFiles},
	"environment": {take: func(int) (any, error) { return nil, nil }, prepare: fillEnv},
}

// takeHeap takes MiB. Small pages, as a heap that has been in use for a while has: it is their
// number that fork copies.
func takeHeap(mib int) (any, error) {
	if err := unix.Prctl(unix.PR_SET_THP_DISABLE, 1, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl", err)
	}
	heap := make([][]byte, mib)
	for i := range heap {
		heap[i] = make([]byte, 1<<20)
		for j := 0; j < len(heap[i]); j += os.Getpagesize() {
			heap[i][j] = 1
		}
	}
	runtime.GC() // the next is due when twice as much is in use
	return heap, nil
}

// ownMounts gives the process a mount namespace of its own.
func ownMounts(cmd *exec.Cmd, _ int) {
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr = execTrue(unix.CLONE_NEWNS | unix.CLONE_NEWUSER).SysProcAttr
	}
}

// takeMounts mounts below a directory that is gone with the mount namespace.
func takeMounts(n int) (any, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, os.NewSyscallError("mount", err)
	}
	dir := os.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=1777"); err != nil {
		return nil, os.NewSyscallError("mount", err)
	}
	for i := range n {
		d := filepath.Join(dir, strconv.Itoa(i))
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
		if err := unix.Mount("tmpfs", d, "tmpfs", 0, ""); err != nil {
			return nil, &os.PathError{Op: "mount", Path: d, Err: err}
		}
	}
	return nil, nil
}

func takeSets(n int) (any, error) {
	sets := make([]*gonso.Set, n)
	for i := range sets {
		s, err := gonso.Unshare(gonso.User)
		if err != nil {
			return nil, fmt.Errorf("number %d of the Sets: %w", i, err)
		}
		sets[i] = s
	}
	return sets, nil
}

func takeFiles(n int) (any, error) {
	need := uint64(n + 100)
	limit := unix.Rlimit{}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return nil, os.NewSyscallError("getrlimit", err)
	}
	if limit.Max < need { // the soft one is what Go programs raise when they start
		limit.Cur, limit.Max = need, need
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			return nil, fmt.Errorf("%d descriptors: RLIMIT_NOFILE: %w", n, err)
		}
	}
	files := make([]*os.File, n)
	for i := range files {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return nil, err
		}
		files[i] = f
	}
	return files, nil
}

// fillEnv adds n kB to the environment: a variable may have less than 128 KiB.
func fillEnv(cmd *exec.Cmd, kB int) {
	cmd.Env = os.Environ()
	for i := 0; i < kB; i += 100 {
		cmd.Env = append(cmd.Env, fmt.Sprintf("GONSO_BENCH_%d=%s", i, strings.Repeat("x", min(kB-i, 100)*1000)))
	}
}

// serveBurden answers lines "NAME COUNT" with the nanoseconds that doing it took, in a process that
// has as much of a burden as its arguments say.
func serveBurden() {
	if err := burdenLoop(); err != nil {
		kind := "error"
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
			kind = "refused"
		}
		fmt.Println(kind, strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

func burdenLoop() error {
	n, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return err
	}
	keep, err := burdens[os.Args[1]].take(n)
	if err != nil {
		return err
	}
	ops, err := burdenOps()
	if err != nil {
		return err
	}
	fmt.Println("ready")
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var name string
		var n int
		if _, err := fmt.Sscan(in.Text(), &name, &n); err != nil {
			return err
		}
		took, err := ops[name](n)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Println(took.Nanoseconds())
	}
	runtime.KeepAlive(keep)
	return nil
}

func burdenOps() (map[string]func(int) (time.Duration, error), error) {
	tiny, err := tinyELF()
	if err != nil {
		return nil, err
	}
	base, err := gonso.Unshare(gonso.User | gonso.Net)
	if err != nil {
		return nil, err
	}
	all, err := base.Unshare(gonso.PID | gonso.Time)
	if err != nil {
		return nil, err
	}
	return map[string]func(int) (time.Duration, error){
		"unshare": again(unshareUser),
		"pidtime": func(n int) (time.Duration, error) { return coldCalls(all, n) },
		"cold":    func(n int) (time.Duration, error) { return coldCalls(base, n) },
		"command": again(func() error { return commandTrue(base) }),
		"true":    again(func() error { return exec.Command(truePath).Run() }),
		"self":    again(func() error { return asRole("bench-nothing").Run() }),
		"exec":    again(func() error { return runTiny(tiny, nil) }),
		"fork":    again(func() error { return runTiny(tiny, &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}) }),
		"traced":  again(unshareTraced),
	}, nil
}

// A burdened process is this program with so much of a burden.
type burdened struct {
	n   int
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startBurdened(what string, n int) (_ *burdened, err error) {
	b := &burdened{n: n, cmd: asRole("bench-burden", what, strconv.Itoa(n))}
	if prepare := burdens[what].prepare; prepare != nil {
		prepare(b.cmd, n)
	}
	if b.in, err = b.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		b.in.Close()
		return nil, err
	}
	b.out = bufio.NewScanner(out)
	if err := b.cmd.Start(); err != nil {
		return nil, errors.Join(possible("needs user namespaces", err), b.in.Close(), out.Close())
	}
	if s, err := b.answer(); err != nil || s != "ready" {
		b.stop() // it has said why
		return nil, fmt.Errorf("a process with %d of %s, which said %q: %w", n, what, s, cmp.Or(err, io.ErrUnexpectedEOF))
	}
	return b, nil
}

func (b *burdened) answer() (string, error) {
	if !b.out.Scan() {
		return "", errors.Join(b.out.Err(), io.ErrUnexpectedEOF)
	}
	if what, ok := strings.CutPrefix(b.out.Text(), "error "); ok {
		return "", errors.New(what)
	}
	if what, ok := strings.CutPrefix(b.out.Text(), "refused "); ok {
		return "", &notHere{"refused: " + what, syscall.EPERM}
	}
	return b.out.Text(), nil
}

func (b *burdened) time(op string, n int) (time.Duration, error) {
	fmt.Fprintln(b.in, op, n)
	s, err := b.answer()
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(s, 10, 64)
	return time.Duration(ns), err
}

func (b *burdened) stop() error {
	b.in.Close()
	return b.cmd.Wait()
}

// An operation is what burdened processes do, and how much longer it may take than without a burden.
type operation struct {
	name, what string
	limit      record.Limit
}

// compareBurdened does the same in processes in turns, the first of which has no burden. If it is to be
// linear, the amounts are the half and the whole.
func compareBurdened(o *options, what, unit string, amounts []int, ops []operation, linear bool) (lines []record.Line, err error) {
	try, err := gonso.Unshare(gonso.User)
	if err != nil {
		return nil, possible("needs user namespaces", err)
	}
	try.Close()
	var processes []*burdened
	defer func() {
		for _, p := range processes {
			err = errors.Join(err, p.stop())
		}
	}()
	for _, n := range append([]int{0}, amounts...) {
		p, err := startBurdened(what, n)
		if err != nil {
			return nil, err
		}
		processes = append(processes, p)
	}
	floor := "the same at 0 " + unit
	for _, op := range ops {
		var r race
		for _, p := range processes {
			r.ways = append(r.ways, way{fmt.Sprintf("%d %s", p.n, unit), func(n int) (time.Duration, error) { return p.time(op.name, n) }})
		}
		res, err := r.time(o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op.name, err)
		}
		for i, p := range processes {
			if i == 0 {
				lines = append(lines, record.Line{What: op.what + ", 0 " + unit, Takes: record.Median(nanoseconds(res[0])), Series: op.what})
				continue
			}
			l := compared(fmt.Sprintf("%s, %d %s", op.what, p.n, unit), floor, res[i], res[0])
			l.Limit, l.Series, l.Param = op.limit, op.what, float64(p.n)
			l.Reached = op.limit.Reached(l.Ratio)
			if linear && i == 2 {
				ok := noFaster(nanoseconds(res[0]), nanoseconds(res[1]), nanoseconds(res[2]))
				l.Target, l.Reached = "linear", &ok
			}
			lines = append(lines, l)
		}
	}
	return lines, nil
}

// noFaster says whether twice as much of a burden adds no more than twice what the half adds. A quarter of
// the time with it is let pass: so much is noise.
func noFaster(none, half, full []float64) bool {
	added := make([]float64, len(none))
	for i := range none {
		added[i] = (full[i] - none[i]) - 2*(half[i]-none[i])
	}
	return record.Median(added) <= record.Median(full)/4
}

// flatInHeap compares processes with and without heap.
func flatInHeap(o *options) ([]record.Line, error) {
	heap := []int{512, 2 << 10}
	if memory("MemAvailable") > 12<<10 {
		heap = append(heap, 4<<10)
	}
	if o.short {
		heap = []int{32}
	}
	return compareBurdened(o, "heap", "MiB live heap", heap, []operation{
		{"unshare", "Unshare(User)", 1.2},
		{"cold", "process Do, cold", 1.2},
		{"pidtime", "  with pid and time", 1.2},
		{"command", "Command of /bin/true", 1.2},
		{"exec", "  os/exec of a static ELF", 0},
		{"fork", "  os/exec of it with CLONE_NEWUSER", 0},
		{"traced", "  user namespace by a process stopped by ptrace", 0},
	}, false)
}

// burdenRows are of what may grow with what the program has, but must not grow faster: hence half
// as much, too.
func burdenRows() (rows []row) {
	for _, b := range []struct {
		what, unit string
		n          int
	}{
		{"mounts", "mounts", 1000},
		{"Sets", "live Sets", 1000},
		{"descriptors", "descriptors", 10_000},
		{"environment", "kB of environment", 900},
	} {
		rows = append(rows, row{
			name: fmt.Sprintf("with %d %s", b.n, b.unit), once: 3 * time.Second, each: 2200 * time.Millisecond,
			measure: func(o *options) ([]record.Line, error) {
				amounts := []int{b.n / 2, b.n}
				if o.short {
					amounts = []int{b.n / 10}
				}
				return compareBurdened(o, b.what, b.unit, amounts, []operation{
					{"unshare", "Unshare(User)", 0},
					{"command", "Command of /bin/true", 0},
					{"cold", "process Do, cold", 0},
					{"true", "  os/exec of /bin/true, outside", 0},
					{"self", "  os/exec of this program", 0},
				}, true)
			},
		})
	}
	return rows
}
