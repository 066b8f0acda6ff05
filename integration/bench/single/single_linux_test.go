package single

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "hand" {
		if err := Serve(os.Stdin, os.Stdout, contestants); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var contestants = []Contestant{
	{"cat", openCat},
	{"here", func(int) (*Opened, error) {
		return &Opened{Call: func(int) error { return nil }, Close: func() error { return nil }}, nil
	}},
	{"fails", func(int) (*Opened, error) {
		n := 0
		return &Opened{Close: func() error { return nil }, Call: func(int) error {
			if n++; n > 10 { // the first ten come with Open
				return errors.New("it failed")
			}
			return nil
		}}, nil
	}},
	{"missing", func(int) (*Opened, error) { return nil, &NotHere{"needs something else"} }},
	{"who", func(int) (*Opened, error) { return nil, fmt.Errorf("hand %d", os.Getpid()) }},
	{"cat's process", func(int) (*Opened, error) { return nil, fmt.Errorf("hand %d", catPID.Load()) }},
}

var catPID atomic.Int64

// openCat has a process at the other end that any machine has.
func openCat(int) (*Opened, error) {
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	catPID.Store(int64(cmd.Process.Pid))
	b := make([]byte, 1)
	return &Opened{
		PID: cmd.Process.Pid,
		Call: func(int) error {
			if _, err := in.Write(b); err != nil {
				return err
			}
			_, err := io.ReadFull(out, b)
			return err
		},
		Close: func() error {
			in.Close()
			return cmd.Wait()
		},
	}, nil
}

func startHand(t *testing.T, cpus []int) *Hand {
	t.Helper()
	h, err := Start(exec.Command("/proc/self/exe", "hand"), cpus)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// number takes the process out of the error in which these contestants say it.
func number(t *testing.T, h *Hand, name string) (pid int) {
	t.Helper()
	err := h.Open(name, 1, nil)
	if err == nil {
		t.Fatalf("%s opened", name)
	}
	if _, err := fmt.Sscanf(err.Error(), "hand %d", &pid); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return pid
}

// allowedTo is what the kernel says that all threads of a process may use.
func allowedTo(t *testing.T, pid int) (lists map[string]bool) {
	t.Helper()
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	lists = make(map[string]bool)
	for _, task := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/status", pid, task.Name()))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		lists[regexp.MustCompile(`(?m)^Cpus_allowed_list:\s*(.*)$`).FindStringSubmatch(string(b))[1]] = true
	}
	return lists
}

func only(t *testing.T, what string, lists map[string]bool, cpu int) {
	t.Helper()
	if len(lists) != 1 || !lists[fmt.Sprint(cpu)] {
		t.Errorf("%s may use %v, not %d alone", what, lists, cpu)
	}
}

func TestPinned(t *testing.T) {
	cpus, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	first, last := cpus[0], cpus[len(cpus)-1]
	h := startHand(t, []int{last})
	if err := h.Open("cat", 1, []int{first}); err != nil {
		t.Fatal(err)
	}
	hand, cat := number(t, h, "who"), number(t, h, "cat's process")
	only(t, "the hand", allowedTo(t, hand), last)
	only(t, "the process at the other end", allowedTo(t, cat), first)
	if got, err := Allowed(); err != nil || fmt.Sprint(got) != fmt.Sprint(cpus) {
		t.Errorf("this process may now use %v, not %v: %v", got, cpus, err)
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	for what, pid := range map[string]int{"hand": hand, "cat": cat} {
		if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
			t.Errorf("after Close the %s is still there: %v", what, err)
		}
	}
}

func TestTurns(t *testing.T) {
	cpus, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	h := startHand(t, cpus)
	defer h.Close()
	for _, name := range []string{"cat", "here"} {
		if err := h.Open(name, 1, nil); err != nil {
			t.Fatal(err)
		}
		c, err := h.Take(name, Turn{N: 25, Callers: 1})
		if err != nil {
			t.Fatal(err)
		}
		if c.N != 25 || c.P50 <= 0 || c.P50 > c.P90 || c.P90 > c.P99 || c.PerSecond <= 0 || c.CallerCPU <= 0 {
			t.Errorf("%s: %+v", name, c)
		}
		if (c.WorkerCPU != nil) != (name == "cat") || (c.WorkerSwitches != nil) != (name == "cat") {
			t.Errorf("%s: figures of another process: %+v", name, c)
		}
		if name == "cat" && (*c.WorkerCPU <= 0 || *c.WorkerSwitches <= 0) {
			t.Errorf("cat worked for nothing: CPU %v, switches %v", *c.WorkerCPU, *c.WorkerSwitches)
		}
	}
	begin := time.Now()
	c, err := h.Take("here", Turn{N: 5, Gap: 2 * time.Millisecond, Callers: 1})
	if took := time.Since(begin); err != nil || c.N != 5 || took < 10*time.Millisecond {
		t.Errorf("every 2 ms, five times, took %v: %+v, %v", took, c, err)
	}
	if err := h.Open("here", 3, nil); err != nil {
		t.Fatal(err)
	}
	if c, err = h.Take("here", Turn{N: 7, Callers: 3}); err != nil || c.N != 21 {
		t.Errorf("three callers: %+v, %v", c, err)
	}
}

func TestRefusals(t *testing.T) {
	cpus, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	h := startHand(t, cpus)
	defer h.Close()
	no, ok := errors.AsType[*NotHere](h.Open("missing", 1, nil))
	if !ok || no.What != "needs something else" {
		t.Errorf("what is not here: %v", no)
	}
	if err := h.Open("nobody", 1, nil); err == nil || !strings.Contains(err.Error(), `"nobody"`) {
		t.Errorf("an unknown name: %v", err)
	}
	if _, err := h.Take("here", Turn{N: 1, Callers: 1}); err == nil || !strings.Contains(err.Error(), "not open") {
		t.Errorf("a turn of what is not open: %v", err)
	}
	if err := h.Open("fails", 1, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Take("fails", Turn{N: 3, Callers: 1}); err == nil || !strings.Contains(err.Error(), "it failed") {
		t.Errorf("a call that fails: %v", err)
	}
}

// TestInterrupted is Ctrl-C: whoever has started the hand ends, and with that the hand.
func TestInterrupted(t *testing.T) {
	cpus, err := Allowed()
	if err != nil {
		t.Fatal(err)
	}
	h := startHand(t, cpus)
	if err := h.Open("cat", 1, nil); err != nil {
		t.Fatal(err)
	}
	cat := number(t, h, "cat's process")
	if err := h.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Take("cat", Turn{N: 3, Callers: 1}); err != nil {
		t.Errorf("after SIGINT: %v", err)
	}
	if err := h.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := unix.Kill(cat, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("process %d is still there: %v", cat, err)
	}
}
