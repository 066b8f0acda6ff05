package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	mobyreexec "github.com/moby/sys/reexec"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// truePath is a program that does nothing.
const truePath = "/bin/true"

// It enters nothing, which is in its favour: a Go program cannot enter a user
// namespace.
func init() {
	mobyreexec.Register("bench-becomes", func() {
		fmt.Fprintln(os.Stderr, unix.Exec(truePath, []string{truePath}, os.Environ()))
		os.Exit(1)
	})
}

// coldCommand runs a program inside.
func coldCommand() (_ *race, err error) {
	r := &race{limit: 1.6}
	defer r.abandon(&err)
	s, err := r.made(gonso.User | gonso.Net)
	if err != nil {
		return nil, err
	}
	r.ways = []way{
		{"os/exec of " + truePath + ", outside", again(func() error { return exec.Command(truePath).Run() })},
		{"gonso", again(func() error { return commandTrue(s) })},
	}
	enter, err := exec.LookPath("nsenter")
	if err == nil {
		var args []string
		for _, t := range []gonso.Type{gonso.User, gonso.Net} {
			f, err := s.File(t)
			if err != nil {
				return nil, err
			}
			r.close = append(r.close, f.Close)
			args = append(args, fmt.Sprintf("--%v=/proc/%d/fd/%d", t, os.Getpid(), f.Fd()))
		}
		args = append(args, truePath)
		r.ways = append(r.ways, way{"nsenter", again(func() error { return exec.Command(enter, args...).Run() })})
	}
	r.ways = append(r.ways, way{"moby/sys/reexec and exec, entering nothing", again(func() error { return mobyreexec.Command("bench-becomes").Run() })})
	return r, nil
}

func commandTrue(s *gonso.Set) error { return s.Command(context.Background(), truePath).Run() }
