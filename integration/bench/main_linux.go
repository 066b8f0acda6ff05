package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/integration/bench/record"
	"github.com/gonso/gonso/integration/bench/single"
)

func main() {
	becomeChild()
	o := options{peers: sibling{name: "peers"}}
	flag.IntVar(&o.rounds, "rounds", 7, "how often everything is measured; medians are printed")
	flag.BoolVar(&o.short, "short", false, "do everything once, to see that it works; the figures mean nothing")
	var f files
	run := flag.String("run", "", "only rows whose name matches this `regexp`")
	flag.StringVar(&f.profile, "cpuprofile", "", "write a CPU profile of this process to `file`; its samples have the label contestant")
	flag.StringVar(&f.json, "json", "", "write the results to `file`, too")
	flag.StringVar(&f.compare, "compare", "", "compare with the results in `file`, which -json has written")
	plots := flag.String("plot", "", "measure nothing: draw the results in the file that is the argument as SVG, into this `directory`")
	flag.Parse()
	begin := time.Now()
	o.note = func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "bench: %4.0f s: %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
	}
	var err error
	switch {
	case *plots != "" && flag.NArg() == 1:
		err = drawPlots(*plots, flag.Arg(0))
	case *plots != "":
		err = errors.New("-plot takes one file of results as argument")
	case flag.NArg() > 0:
		err = fmt.Errorf("unexpected argument %q", flag.Arg(0))
	default:
		err = bench(os.Stdout, &o, *run, f)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// becomeChild comes first in main: in the processes that this program starts of
// itself it does not return.
func becomeChild() {
	gonso.Init() // roles have workers, too
	if role := roles[os.Args[0]]; role != nil {
		role()
		os.Exit(0)
	}
}

type options struct {
	rounds int
	short  bool
	match  func(name string) bool
	note   func(format string, args ...any) // says what goes on
	peers  sibling                          // the program that has them
}

// files are what is read and written beside the table.
type files struct{ profile, json, compare string }

func bench(w io.Writer, o *options, run string, f files) error {
	if o.short {
		o.rounds = 1
	}
	if o.rounds < 1 {
		return errors.New("-rounds must be positive")
	}
	match, err := regexp.Compile(run)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	o.match = match.MatchString
	var then *record.Record
	if f.compare != "" { // before minutes have gone into a run
		if then, err = record.Read(f.compare); err != nil {
			return fmt.Errorf("-compare: %w", err)
		}
	}
	if f.profile != "" {
		p, err := os.Create(f.profile)
		if err != nil {
			return err
		}
		defer p.Close()
		if err := pprof.StartCPUProfile(p); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	now, err := newRecord(o)
	if err != nil {
		return err
	}
	m := now.Machine
	fmt.Fprintf(w, "%s, Linux %s, %s, %d CPUs, %s, %s, %d rounds\n", now.Go, m.Kernel, m.Processor, len(m.CPUs),
		now.User, now.Date.Format("2006-01-02 15:04"), o.rounds)
	defer o.peers.Close()
	lines, errs := measureAll(o, rows)
	now.Lines = lines
	errs = append(errs, record.Table(w, lines))
	if f.json != "" {
		errs = append(errs, now.WriteFile(f.json))
	}
	if then != nil {
		fmt.Fprintln(w)
		errs = append(errs, record.CompareTable(w, then, now))
	}
	return errors.Join(errs...)
}

// measureAll measures the rows that are wanted, and says what it is doing.
func measureAll(o *options, rows []row) (lines []record.Line, errs []error) {
	var wanted []row
	var left time.Duration
	for _, r := range rows {
		if r.wanted(o) {
			wanted = append(wanted, r)
			left += r.takes(o)
		}
	}
	o.say("%d rows, about %s, longer where others use the CPUs", len(wanted), minutes(left))
	var done time.Duration
	start := time.Now()
	for i, r := range wanted {
		o.say("%2d of %d: %s (%s left)", i+1, len(wanted), r.name, minutes(remaining(left, done, time.Since(start))))
		ls, err := r.measure(o)
		left, done = left-r.takes(o), done+r.takes(o)
		if no, ok := errors.AsType[*notHere](err); ok {
			ls = []record.Line{{What: r.name, NotMeasured: no.what}}
		} else if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", r.name, err))
			continue
		}
		for _, l := range ls {
			if l.Row == "" {
				l.Row = r.name
			}
			lines = append(lines, l)
		}
	}
	return lines, errs
}

// remaining corrects what is left by how long it took to do what is done, once that is enough to tell.
func remaining(left, done, took time.Duration) time.Duration {
	if took < 20*time.Second || done == 0 {
		return left
	}
	return time.Duration(float64(left) * float64(took) / float64(done))
}

func (o *options) say(format string, args ...any) {
	if o.note != nil {
		o.note(format, args...)
	}
}

func minutes(d time.Duration) string {
	if d < 90*time.Second {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f min", d.Minutes())
}

// newRecord has all but the results.
func newRecord(o *options) (*record.Record, error) {
	cpus, err := single.Allowed()
	if err != nil {
		return nil, err
	}
	r := &record.Record{
		Command: append([]string{"bench"}, os.Args[1:]...), Date: time.Now().Truncate(time.Second), Go: runtime.Version(),
		User: "a plain user", Rounds: o.rounds, Short: o.short,
		Machine: record.Machine{Kernel: release(), Arch: runtime.GOARCH, CPUs: cpus, Processor: field("/proc/cpuinfo", "model name")},
	}
	if os.Geteuid() == 0 {
		r.User = "root"
	}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		r.Machine.Load = strings.TrimSpace(string(b))
	}
	r.Machine.MemoryMiB = memory("MemTotal")
	return r, nil
}

// field is the value of the first line "NAME: VALUE" of a file, "" if there is none.
func field(file, name string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(n) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// memory is a line of /proc/meminfo in MiB, 0 if it is not there.
func memory(name string) int {
	var kib int
	fmt.Sscan(field("/proc/meminfo", name), &kib)
	return kib >> 10
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err.Error()
	}
	return unix.ByteSliceToString(u.Release[:])
}

// notHere is what a row lacks on this machine or with this user.
type notHere struct {
	what string
	err  error
}

func (e *notHere) Error() string { return e.what + ": " + e.err.Error() }
func (e *notHere) Unwrap() error { return e.err }

// possible makes a refusal by the kernel a notHere.
func possible(what string, err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSPC) || errors.Is(err, errors.ErrUnsupported) {
		return &notHere{what, err}
	}
	return err
}
