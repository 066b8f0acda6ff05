//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

const (
	hostnameInside = "gonso-demo"
	addedFile      = "added-by-gonso-demo"
)

// demo is one run: what it shows, and what it found wrong.
type demo struct {
	ctx        context.Context
	dir        string
	home       *Place
	meanwhile  func() // tests disturb the host here
	report     report
	violations []error
}

// run always returns a report. The error names everything that is not as it
// should be; what was made is gone when it returns.
func run(ctx context.Context, dir string, meanwhile func()) (*report, error) {
	d := &demo{ctx: ctx, meanwhile: meanwhile}
	err := d.run(dir)
	return &d.report, errors.Join(append(d.violations, err)...)
}

func (d *demo) run(dir string) (err error) {
	if d.dir, err = directory(dir); err != nil {
		return err
	}
	if d.home, err = look(); err != nil {
		return err
	}
	d.report.head = []string{
		fmt.Sprintf("Linux %s, uid %d, directory %q, host %q", release(), os.Getuid(), d.dir, d.home.Hostname),
		"home: " + strings.Join(sortedIDs(d.home.Namespaces), " "),
	}
	d.report.rows = append(d.report.rows, row{work: "main", pid: d.home.PID, result: interfaces(d.home)})
	if err := d.thread(); err != nil {
		return err
	}
	return d.process()
}

func directory(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err == nil {
		abs, err = filepath.EvalSymlinks(abs)
	}
	if err != nil {
		return "", err
	}
	st, err := os.Stat(abs)
	switch {
	case err != nil:
		return "", err
	case !st.IsDir():
		return "", fmt.Errorf("%s is not a directory", abs)
	case abs == "/":
		return "", errors.New("a mount over / does not cover it; name another directory")
	}
	return abs, nil
}

func interfaces(p *Place) string { return "interfaces: " + strings.Join(p.Interfaces, " ") }

// check notes what is not as it should be.
func (d *demo) check(ok bool, format string, args ...any) {
	if !ok {
		d.violations = append(d.violations, fmt.Errorf(format, args...))
	}
}

// thread shows closures.
func (d *demo) thread() error {
	s, err := gonso.Unshare(gonso.Net)
	if errors.Is(err, unix.EPERM) {
		d.report.rows = append(d.report.rows, row{work: "make a net namespace", why: "without privileges it takes a user namespace along with it", result: "refused: " + err.Error()})
		return d.plainThread()
	}
	if err != nil {
		return err
	}
	defer s.Close()
	d.plan("net", s)
	p, err := d.closure("closure, new net", s)
	if err != nil {
		return err
	}
	d.check(p.TID != p.PID, "the closure ran on the main thread")
	// The thread was given back: whatever it does now, it does at home.
	if now, err := os.Readlink(taskNS(p.TID, "net")); err == nil {
		d.check(now == d.home.Namespaces["net"], "thread %d was given back in %s", p.TID, now)
	}
	return nil
}

// plainThread shows what a thread can do without privileges, what it cannot,
// and the error that says so.
func (d *demo) plainThread() error {
	here, err := gonso.Current(gonso.Net)
	if err != nil {
		return err
	}
	defer here.Close()
	d.plan("home's net", here)
	if _, err := d.closure("closure, home's net", here); err != nil {
		return err
	}
	s, err := gonso.Unshare(gonso.User | gonso.Net)
	if err != nil {
		return err
	}
	defer s.Close()
	d.plan("user and net", s)
	ran := false
	err = s.Run(func() error { ran = true; return nil })
	d.report.rows = append(d.report.rows, row{work: "closure, new user and net", why: s.Plan().Closures.Why, result: "refused: " + fmt.Sprint(err)})
	d.check(errors.Is(err, gonso.ErrNeedsProcess) && !ran, "a closure in a new user namespace answered %v (ran: %v)", err, ran)
	_, err = d.look("function, new user and net (the first call starts a worker)", s, 1)
	return err
}

// closure runs look on a thread and watches that thread from another one.
func (d *demo) closure(work string, s *gonso.Set) (*Place, error) {
	var (
		p       *Place
		arrived = make(chan *Place)
		seen    = make(chan struct{})
		outside string
	)
	go func() {
		defer close(seen)
		if p := <-arrived; p != nil {
			outside, _ = os.Readlink(taskNS(p.TID, "net"))
		}
	}()
	route := s.Plan().Closures
	start := time.Now()
	err := s.Run(func() (err error) {
		p, err = look()
		arrived <- p
		<-seen
		return err
	})
	took := time.Since(start)
	close(arrived)
	if err != nil {
		return nil, err
	}
	d.report.rows = append(d.report.rows, row{
		work: work, backend: route.Backend, pid: p.PID, tid: p.TID, entered: d.entered(s, route, p),
		why: route.Why, result: interfaces(p), took: took,
	})
	d.check(outside == p.Namespaces["net"], "from outside, thread %d is in %q; it saw %q", p.TID, outside, p.Namespaces["net"])
	return p, nil
}

func taskNS(tid int, name string) string {
	return "/proc/self/task/" + strconv.Itoa(tid) + "/ns/" + name
}

// look runs the function look in a worker. With several calls it shows the
// median of their times.
func (d *demo) look(work string, s *gonso.Set, calls int) (p *Place, err error) {
	route := s.Plan().Functions
	took := make([]time.Duration, calls)
	for i := range took {
		start := time.Now()
		if p, err = lookFunc.Do(d.ctx, s, struct{}{}); err != nil {
			return nil, err
		}
		took[i] = time.Since(start)
	}
	slices.Sort(took)
	result := interfaces(p)
	if calls > 1 {
		result += fmt.Sprintf("\n%d calls, median time", calls)
	}
	d.report.rows = append(d.report.rows, row{
		work: work, backend: route.Backend, pid: p.PID, tid: p.TID, entered: d.entered(s, route, p),
		why: route.Why, result: result, took: took[calls/2],
	})
	d.outside(p)
	return p, nil
}

// entered lists what the plan says is entered, and checks that p saw just that.
func (d *demo) entered(s *gonso.Set, route gonso.Route, p *Place) []string {
	want := make(map[string]string)
	for name, id := range d.home.Namespaces {
		want[name] = id
	}
	var ids []string
	for _, t := range route.Join {
		id, err := s.ID(t)
		d.check(err == nil, "%v", err)
		ids = append(ids, id.String())
		d.check(want[t.String()] != id.String(), "%v is no new namespace", id)
		want[t.String()] = id.String()
	}
	for name, id := range want {
		d.check(p.Namespaces[name] == id, "%s is %s inside, not %s", name, p.Namespaces[name], id)
	}
	return ids
}

// outside checks that a worker is where it says, as seen from here.
func (d *demo) outside(p *Place) {
	d.check(p.PID != os.Getpid(), "the function ran in this process")
	ns, err := namespaces(fmt.Sprintf("/proc/%d/ns", p.PID))
	d.check(err == nil, "looking at the worker from outside: %v", err)
	for name, id := range ns {
		d.check(p.Namespaces[name] == id, "%s of worker %d is %s from outside, %s inside", name, p.PID, id, p.Namespaces[name])
	}
}

func (d *demo) plan(name string, s *gonso.Set) {
	d.report.plans = append(d.report.plans, namedPlan{name, s.Plan()})
}

// process shows registered functions: they change everything inside, and
// nothing here.
func (d *demo) process() (err error) {
	before, err := d.hashHost("hash on the host, before", "")
	if err != nil {
		return err
	}
	if before.First == "" {
		return fmt.Errorf("%s has no regular file that can be read: nothing to change", d.dir)
	}
	mountsBefore := countMounts("self", d.dir)
	scratch, err := os.MkdirTemp("", "gonso-demo-")
	if err != nil {
		return err
	}
	// Not RemoveAll: it is empty, unless a mount has come out.
	defer func() { err = errors.Join(err, os.Remove(scratch)) }()

	s, err := gonso.Unshare(gonso.User | gonso.Mount | gonso.Net | gonso.UTS)
	if err != nil {
		return err
	}
	defer s.Close()
	d.plan("user, mnt, net and uts", s)
	cold, err := d.look("look: the first call starts the worker", s, 1)
	if err != nil {
		return err
	}
	if err := d.overlay(s, scratch, before); err != nil {
		return err
	}
	if d.meanwhile != nil {
		d.meanwhile()
	}

	// The worker is alive, and with it everything it mounted and changed.
	d.check(countMounts(strconv.Itoa(cold.PID), d.dir) == mountsBefore+1, "from outside, worker %d has no mount on %s", cold.PID, d.dir)
	d.check(countMounts("self", d.dir) == mountsBefore && countMounts("self", scratch) == 0, "a mount made inside is seen on the host")
	name, err := hostname()
	d.check(err == nil && name == d.home.Hostname, "the host's name was %q and is %q", d.home.Hostname, name)
	after, err := d.hashHost("hash on the host, after", "host name and mounts as before")
	if err != nil {
		return err
	}
	d.check(*after == *before, "%s on the host has changed: before %v, after %v", d.dir, before, after)

	if err := d.again(s, before); err != nil {
		return err
	}
	warm, err := d.look("look: same worker", s, 9)
	if err != nil {
		return err
	}
	d.check(warm.PID == cold.PID, "the worker was %d and is %d: it did not stay warm", cold.PID, warm.PID)
	d.check(warm.Hostname == hostnameInside, "inside, the host name is %q", warm.Hostname)
	s.Close()
	_, err = os.Stat(fmt.Sprintf("/proc/%d", cold.PID))
	d.check(errors.Is(err, os.ErrNotExist), "worker %d outlives its Set: %v", cold.PID, err)
	return nil
}

func (d *demo) hashHost(work, note string) (*Tree, error) {
	start := time.Now()
	t, err := hashTree(d.ctx, d.dir, nil)
	if err != nil {
		return nil, err
	}
	result := t.String()
	if note != "" {
		result += "\n" + note
	}
	d.report.rows = append(d.report.rows, row{work: work, pid: os.Getpid(), result: result, took: time.Since(start)})
	return t, nil
}

func (d *demo) overlay(s *gonso.Set, scratch string, host *Tree) error {
	route := s.Plan().Functions
	start := time.Now()
	out, err := overlayFunc.Do(d.ctx, s, OverlayIn{Dir: d.dir, Scratch: scratch, Hostname: hostnameInside, Change: host.First, Add: addedFile})
	took := time.Since(start)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("\nchanged: %s to %s", short(out.Before), short(out.After))
	same := out.Tree.SkippedDigest == host.SkippedDigest
	if !same {
		note += "\nnot the files that can be read on the host: digests not compared"
	}
	d.functionRow(fmt.Sprintf("overlay: mount, hash, change %q, add a file", host.First), s, route, out, took, note)
	d.check(out.Before != out.After, "the file was not changed inside")
	if same {
		d.check(out.Tree.Digest == host.Digest, "through the overlay the directory has %v, on the host %v", out.Tree, host)
	}
	return nil
}

func (d *demo) again(s *gonso.Set, host *Tree) error {
	route := s.Plan().Functions
	start := time.Now()
	out, err := hashFunc.Do(d.ctx, s, d.dir)
	took := time.Since(start)
	if err != nil {
		return err
	}
	d.functionRow("hash: same worker, same overlay", s, route, out, took, "")
	d.check(out.Tree.Digest != host.Digest, "the changes inside are gone")
	if out.Tree.SkippedDigest == host.SkippedDigest {
		d.check(out.Tree.Files == host.Files+1, "inside there are %d files, on the host %d: not one more", out.Tree.Files, host.Files)
	}
	return nil
}

// functionRow shows a function that hashed, and checks that its goroutines were inside.
func (d *demo) functionRow(work string, s *gonso.Set, route gonso.Route, out *OverlayOut, took time.Duration, note string) {
	d.report.rows = append(d.report.rows, row{
		work: work, backend: route.Backend, pid: out.Place.PID, tid: out.Place.TID, entered: d.entered(s, route, out.Place), why: route.Why,
		result: fmt.Sprintf("%v\nhost %q, %d of %d goroutines inside%s", out.Tree, out.Place.Hostname, out.Goroutines, out.Tree.Goroutines, note),
		took:   took,
	})
	d.outside(out.Place)
	d.check(out.Place.Hostname == hostnameInside, "inside, the host name is %q", out.Place.Hostname)
	d.check(out.Goroutines == out.Tree.Goroutines, "%d of %d goroutines were inside", out.Goroutines, out.Tree.Goroutines)
}

// countMounts counts the mounts on path in a process's mount namespace.
func countMounts(pid, path string) int {
	b, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	if err != nil {
		return -1
	}
	at := strings.NewReplacer(" ", `\040`, "\t", `\011`, "\n", `\012`, `\`, `\134`).Replace(path)
	n := 0
	for line := range strings.Lines(string(b)) {
		if f := strings.Split(line, " "); len(f) > 4 && f[4] == at {
			n++
		}
	}
	return n
}
