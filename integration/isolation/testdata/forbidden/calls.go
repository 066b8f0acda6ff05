package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// calls does what users do first, a line each, with the hint of what is refused on another line. Those whose name is that of
// a check of Probe's do what that does.
func calls(ctx context.Context) {
	in := func(types gonso.Type, f func(s *gonso.Set) error, options ...gonso.UnshareOption) func() error {
		return func() error {
			s, err := gonso.Unshare(types, options...)
			if err != nil {
				return err
			}
			defer s.Close()
			return f(s)
		}
	}
	nothing := func(*gonso.Set) error { return nil }
	inside := func(s *gonso.Set) error {
		_, err := look.Do(ctx, s, struct{}{}, gonso.InProcess())
		return err
	}
	command := func(s *gonso.Set) error { return s.Command(ctx, "/bin/true").Run() }
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"net", in(gonso.Net, nothing)},
		{"mnt", in(gonso.Mount, nothing)},
		{"pid", in(gonso.PID, nothing)},
		{"time", in(gonso.Time, nothing)},
		{"user", in(gonso.User, nothing)},
		{"net, in a user namespace", in(gonso.User|gonso.Net, nothing)},
		{"mnt, in a user namespace", in(gonso.User|gonso.Mount, nothing)},
		{"pid, in a user namespace", in(gonso.User|gonso.PID, nothing)},
		{"time, in a user namespace", in(gonso.User|gonso.Time, nothing)},
		{"uts, in a user namespace", in(gonso.User|gonso.UTS, nothing)},
		{"closures", in(gonso.UTS, func(s *gonso.Set) error { return s.Run(func() error { return nil }) })},
		{"worker, in a user namespace", in(gonso.User, inside)},
		{"subordinate ids", in(gonso.User, nothing, gonso.SubIDs())},
		{"new /proc, in a user namespace", in(gonso.User|gonso.Mount|gonso.PID, nothing, gonso.MountProc())},
		// These are no checks.
		{"command", in(gonso.User, command)},
		{"command in pid", in(gonso.User|gonso.PID, command)},
		{"command at home", func() error { return command(new(gonso.Set)) }},
		{"two ids", in(gonso.User, nothing, gonso.IDMaps([]gonso.IDMap{{HostID: uint32(os.Geteuid()), Size: 1}, {ContainerID: 1, HostID: 100000, Size: 1}},
			[]gonso.IDMap{{HostID: uint32(os.Getegid()), Size: 1}}))},
		{"self", func() error { return ofProcess(os.Getpid()) }},
		{"pin", in(gonso.UTS, pin)},
		{"child", ofChild},
		{"open file", func() error {
			f, err := new(gonso.Set).OpenFile(ctx, "/etc/passwd", os.O_RDONLY, 0)
			if err == nil {
				err = f.Close()
			}
			return err
		}},
	} {
		began := time.Now()
		err := c.do()
		say(c.name, line(err))
		hint(c.name, err)
		if d := time.Since(began); d > time.Second {
			fmt.Printf("slow %s: %v\n", c.name, d.Round(time.Second))
		}
	}
}

// ofProcess opens the namespaces of a process.
func ofProcess(pid int) error {
	s, err := gonso.FromPID(pid, gonso.AllTypes&^gonso.Time)
	if err == nil {
		s.Close()
	}
	return err
}

// pin pins a Set in a directory that it makes.
func pin(s *gonso.Set) error {
	dir, err := os.MkdirTemp("", "gonso-forbidden-")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	path := dir + "/uts"
	if err := s.PinNS(gonso.UTS, path); err != nil {
		return err
	}
	return gonso.Unpin(path)
}

func ofChild() error {
	c := exec.Command("/bin/sleep", "600")
	if err := c.Start(); err != nil {
		return err
	}
	defer func() {
		c.Process.Kill()
		c.Wait()
	}()
	return ofProcess(c.Process.Pid)
}

// probe prints what Probe answers, as calls does.
func probe(ctx context.Context) {
	r := gonso.Probe(ctx)
	for _, c := range r.Checks {
		fmt.Printf("probe %s: %v\n", c.What, strings.TrimSpace(c.Answer.String()+" "+strings.ReplaceAll(c.Why, "\n", " ")))
		hint("probe "+c.What, c.Err)
	}
	for _, f := range r.Facts {
		fmt.Printf("fact %s: %s\n", f.Name, strings.ReplaceAll(f.Value, "\n", " "))
	}
}

// limitProcesses lets this user start no more processes, and no threads. Those of this program's that it will need are there.
func limitProcesses(ctx context.Context) error {
	gonso.Probe(ctx) // what lasts
	testenv.HaveThreads(64)
	return unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: 1, Max: 1})
}

// hint prints that of an error: the evidence, apart from what was done.
func hint(what string, err error) {
	if e, ok := errors.AsType[*gonso.Error](err); ok {
		fmt.Printf("hint of %s: %s\n", what, e.Hint)
	}
}

// line is an error without line breaks.
func line(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.ReplaceAll(err.Error(), "\n", " "))
}
