package single

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/integration/bench/record"
)

type order struct {
	Name       string
	Open       int `json:",omitempty"` // for so many callers
	WorkerCPUs []int
	Turn       Turn
}

type answer struct {
	Calls   record.Calls
	Err     string `json:",omitempty"`
	NotHere string `json:",omitempty"`
}

// NotHere is what a contestant lacks on this machine, or with this user.
type NotHere struct{ What string }

func (e *NotHere) Error() string { return e.What }

// Serve is the hand: it does what it is told on in until that ends. Ctrl-C in a terminal ends only whoever
// tells it, as contestants are still to be closed then, some of which have processes that do not end by it.
func Serve(in io.Reader, out io.Writer, contestants []Contestant) error {
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, unix.SIGPIPE)
	opened := make(map[string]*Opened)
	var errs []error
	from, to := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o order
		if err := from.Decode(&o); err != nil {
			if err != io.EOF {
				errs = append(errs, err)
			}
			break
		}
		var a answer
		if err := obey(o, contestants, opened, &a); err != nil {
			a.Err = err.Error()
			if no, ok := errors.AsType[*NotHere](err); ok {
				a.NotHere = no.What
			}
		}
		if err := to.Encode(a); err != nil {
			errs = append(errs, err)
			break
		}
	}
	for _, o := range opened {
		errs = append(errs, o.Close())
	}
	return errors.Join(errs...)
}

func obey(o order, contestants []Contestant, opened map[string]*Opened, a *answer) (err error) {
	if o.Open > 0 {
		i := slices.IndexFunc(contestants, func(c Contestant) bool { return c.Name == o.Name })
		if i < 0 {
			return fmt.Errorf("no contestant %q", o.Name)
		}
		if old := opened[o.Name]; old != nil {
			delete(opened, o.Name)
			if err := old.Close(); err != nil {
				return err
			}
		}
		c, err := open(contestants[i], o.Open, o.WorkerCPUs)
		if err == nil {
			opened[o.Name] = c
		}
		return err
	}
	c := opened[o.Name]
	if c == nil {
		return fmt.Errorf("%q is not open", o.Name)
	}
	a.Calls, err = measure(c, o.Turn)
	return err
}

// A Hand is a process that has contestants.
type Hand struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	to  *json.Encoder
	out *json.Decoder
}

// Start starts cmd, whose main calls Serve with its standard input and output, on these CPUs.
func Start(cmd *exec.Cmd, cpus []int) (*Hand, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if cmd.Stderr == nil {
		cmd.Stderr = os.Stderr
	}
	if err := startPinned(cmd, cpus); err != nil {
		return nil, errors.Join(err, in.Close(), out.Close())
	}
	return &Hand{cmd, in, json.NewEncoder(in), json.NewDecoder(out)}, nil
}

// bound is far more than any order takes.
const bound = 2 * time.Minute

func (h *Hand) tell(o order) (a answer, err error) {
	timer := time.AfterFunc(bound, func() { h.cmd.Process.Kill() })
	defer timer.Stop()
	if err := h.to.Encode(o); err != nil {
		return a, err
	}
	if err := h.out.Decode(&a); err != nil {
		return a, fmt.Errorf("%s: the process that measures it: %w", o.Name, err)
	}
	switch {
	case a.NotHere != "":
		return a, &NotHere{a.NotHere}
	case a.Err != "":
		return a, errors.New(a.Err)
	}
	return a, nil
}

// Open makes a contestant ready, and pins the process at its other end unless workerCPUs is empty.
func (h *Hand) Open(name string, callers int, workerCPUs []int) error {
	_, err := h.tell(order{Name: name, Open: callers, WorkerCPUs: workerCPUs})
	return err
}

// Take lets a contestant take a turn.
func (h *Hand) Take(name string, t Turn) (record.Calls, error) {
	a, err := h.tell(order{Name: name, Turn: t})
	return a.Calls, err
}

// Close ends the hand and all that its contestants have.
func (h *Hand) Close() error {
	h.in.Close()
	return h.cmd.Wait()
}
