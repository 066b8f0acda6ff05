// Wrapper is a privileged program that runs another one, as sudo and its like do: it has a
// setuid or setgid bit, or capabilities, and hands them on wholly.
//
//	wrapper root|group|ambient|fork|none PROGRAM
//
// The program gets argv[0] of a worker, and all descriptors.
package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "wrapper:", err)
		os.Exit(99)
	}
}

func run(mode, program string) error {
	runtime.LockOSThread()
	switch mode {
	case "root", "fork":
		if err := syscall.Setresgid(0, 0, 0); err != nil {
			return err
		}
		if err := syscall.Setresuid(0, 0, 0); err != nil {
			return err
		}
	case "group":
		if err := syscall.Setresgid(0, 0, 0); err != nil {
			return err
		}
	case "ambient":
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		if err := unix.Capget(&hdr, &data[0]); err != nil {
			return err
		}
		data[0].Inheritable = data[0].Permitted
		if err := unix.Capset(&hdr, &data[0]); err != nil {
			return err
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_NET_ADMIN, 0, 0); err != nil {
			return err
		}
	}
	args := []string{"gonso-worker"}
	if mode == "fork" {
		p, err := os.StartProcess(program, args, &os.ProcAttr{Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, os.NewFile(3, "socket")}})
		if err != nil {
			return err
		}
		state, err := p.Wait()
		if err == nil {
			os.Exit(state.ExitCode())
		}
		return err
	}
	return syscall.Exec(program, args, os.Environ())
}
