package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

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
		args := []string{"--preserve-credentials"} // a plain user has no others to change to
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
	r.ways = append(r.ways, way{"os/exec with CLONE_NEWUSER and CLONE_NEWNET", again(func() error { return execTrue(unix.CLONE_NEWUSER | unix.CLONE_NEWNET).Run() })})
	r.ways = append(r.ways, way{"moby/sys/reexec and exec, entering nothing", again(func() error { return mobyreexec.Command("bench-becomes").Run() })})
	return r, nil
}

func commandTrue(s *gonso.Set) error { return s.Command(context.Background(), truePath).Run() }

// execTrue is the program in new namespaces, with this user mapped to root.
func execTrue(flags uintptr) *exec.Cmd {
	cmd := exec.Command(truePath)
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags:  flags,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}},
	}
	return cmd
}

// freshCommand runs a program in namespaces that are made for it.
func freshCommand() (_ *race, err error) {
	r := &race{}
	defer r.abandon(&err)
	if _, err := r.made(gonso.User | gonso.Net); err != nil {
		return nil, err
	}
	const what = "os/exec of " + truePath + " with CLONE_NEWUSER and CLONE_NEWNET"
	r.ways = []way{
		{what, again(func() error { return execTrue(unix.CLONE_NEWUSER | unix.CLONE_NEWNET).Run() })},
		{"gonso", again(func() error {
			s, err := gonso.Unshare(gonso.User | gonso.Net)
			if err != nil {
				return err
			}
			return errors.Join(commandTrue(s), s.Close())
		})},
	}
	if unshare, err := exec.LookPath("unshare"); err == nil {
		r.ways = append(r.ways, way{"unshare", again(func() error {
			return exec.Command(unshare, "--map-root-user", "--net", truePath).Run()
		})})
	}
	return r, nil
}
