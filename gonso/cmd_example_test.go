//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// A Cmd is used as one of package exec.
func ExampleSet_Command() {
	s, err := gonso.Unshare(gonso.User | gonso.Net)
	if err != nil {
		cannot("userns", err, "uid 0\nexit status 3")
		return
	}
	defer s.Close()

	out, err := s.Command(context.Background(), "sh", "-c", "echo uid $(id -u)").Output()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(out))

	err = s.Command(context.Background(), "sh", "-c", "exit 3").Run()
	if ee, ok := err.(*exec.ExitError); ok {
		fmt.Println(ee)
	}
	// Output:
	// uid 0
	// exit status 3
}

// What a container's configuration says of its process goes to the fields of the Cmd.
func ExampleCmd() {
	s, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		cannot("userns", err, "umask 0027, files 256, bounding 0000000000000401")
		return
	}
	defer s.Close()

	c := s.Command(context.Background(), "sh", "-c",
		`echo "umask $(umask), files $(ulimit -n), bounding $(sed -n 's/CapBnd:\t//p' /proc/self/status)"`)
	c.Umask = new(0o027)
	c.OOMScoreAdj = new(500)
	c.NoNewPrivs = true
	c.Rlimits = []gonso.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 256, Hard: 512}}
	caps := []uintptr{unix.CAP_CHOWN, unix.CAP_NET_BIND_SERVICE}
	c.Capabilities = &gonso.Capabilities{Bounding: caps, Permitted: caps, Effective: caps}
	out, err := c.Output()
	fmt.Print(string(out))
	if err != nil {
		fmt.Println(err)
	}
	// Output: umask 0027, files 256, bounding 0000000000000401
}

// A tar stream of a file system that only the Set has goes to a pipe.
func ExampleCmd_StdoutPipe() {
	const want = "files/\nfiles/hello"
	s, err := gonso.Unshare(gonso.User | gonso.Mount)
	if err != nil {
		cannot("userns", err, want)
		return
	}
	defer s.Close()
	if _, err := exec.LookPath("tar"); err != nil {
		cannot("tools", err, want)
		return
	}

	dir, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(dir)
	const script = `mount -t tmpfs none "$1" && cd "$1" && mkdir files && echo hello >files/hello`
	fill := s.Command(context.Background(), "sh", "-c", script, "sh", dir)
	if out, err := fill.CombinedOutput(); err != nil {
		fmt.Println(err, string(out))
		return
	}

	pack := s.Command(context.Background(), "tar", "c", "files")
	pack.Dir = dir
	stream, err := pack.StdoutPipe()
	if err != nil {
		fmt.Println(err)
		return
	}
	list := exec.Command("tar", "t") // outside, where there are no such files
	list.Stdin = stream
	if err := pack.Start(); err != nil {
		fmt.Println(err)
		return
	}
	out, err := list.Output()
	if err := pack.Wait(); err != nil {
		fmt.Println(err)
	}
	fmt.Print(string(out))
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// files/
	// files/hello
}

// A rootless tool goes on as root of a user namespace of its own.
func ExampleCmd_RunAndExit() {
	main := func() {
		gonso.Init()
		if os.Geteuid() != 0 {
			s, err := gonso.Unshare(gonso.User|gonso.Mount, gonso.SubIDs())
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			s.Self(context.Background(), os.Args[1:]...).RunAndExit(func(pid int) {
				_ = os.WriteFile("/run/user/tool.pid", fmt.Appendln(nil, pid), 0o600)
			})
		}
		// Root from here on.
	}
	_ = main
}
