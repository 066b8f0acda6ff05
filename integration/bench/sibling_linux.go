package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
)

// A sibling is a program below this directory. Peers and plots are programs of their own, as their
// packages would make every start of this one longer, and starts are measured, too.
type sibling struct {
	name  string
	built *os.File // it has no name any more, so that nothing is left behind
	err   error
}

// file builds the program, once.
func (s *sibling) file(o *options) (*os.File, error) {
	if s.built == nil && s.err == nil {
		s.built, s.err = build(o, s.name)
	}
	return s.built, s.err
}

func (s *sibling) Close() error {
	if s.built == nil {
		return nil
	}
	f := s.built
	s.built = nil
	return f.Close()
}

// programOf runs a file that is open.
func programOf(f *os.File, args ...string) *exec.Cmd {
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), args...)
	cmd.Stderr = os.Stderr
	return cmd
}

var offline = regexp.MustCompile(`dial tcp|proxyconnect|no such host|i/o timeout|GOPROXY`)

func build(o *options, name string) (*os.File, error) {
	pkg := "github.com/gonso/gonso/integration/bench/" + name
	if err := exec.Command("go", "list", pkg).Run(); err != nil {
		return nil, &notHere{"needs the go command in the source tree", err}
	}
	f, err := os.CreateTemp("", "gonso-bench-"+name+"-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	f.Close()
	o.say("building the program for %s, which takes minutes the first time", name)
	if out, err := exec.Command("go", "build", "-o", f.Name(), pkg).CombinedOutput(); err != nil {
		if offline.Match(out) {
			return nil, &notHere{"needs a network, or a cache of the modules", err}
		}
		return nil, fmt.Errorf("go build of %s: %w\n%s", name, err, out)
	}
	return os.Open(f.Name())
}

// drawPlots draws what is in a file of results.
func drawPlots(dir, file string) error {
	s := sibling{name: "plot"}
	f, err := s.file(&options{})
	if err != nil {
		return err
	}
	cmd := programOf(f, dir, file)
	cmd.Stdout = os.Stdout
	return errors.Join(cmd.Run(), s.Close())
}
