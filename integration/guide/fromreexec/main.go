//go:build linux

// Command fromreexec does the same with moby/sys/reexec and with gonso.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"syscall"

	"github.com/moby/sys/reexec"

	"github.com/gonso/gonso/gonso"
)

// With reexec, arguments are in os.Args, and results are what is printed. An error is a text and a
// status.
func init() {
	reexec.Register("child", func() {
		if err := syscall.Sethostname([]byte(os.Args[1])); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		name, _ := os.Hostname()
		fmt.Print(name)
	})
}

func withReexec(name string) (string, error) {
	c := reexec.Command("child", name)
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	out, err := c.Output()
	return string(out), err
}

// With gonso, they are Go values, and errors are errors.
var rename = gonso.Register("rename", func(_ context.Context, name string) (string, error) {
	if err := syscall.Sethostname([]byte(name)); err != nil {
		return "", err
	}
	return os.Hostname()
})

func withGonso(name string) (string, error) {
	s, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		return "", err
	}
	defer s.Close()
	return rename.Do(context.Background(), s, name)
}

func main() {
	gonso.Init() // also calls what is registered with reexec
	a, errA := withReexec("inside")
	b, errB := withGonso("inside")
	if err := errors.Join(errA, errB); err != nil {
		log.Fatal(err)
	}
	fmt.Println("with reexec:", a)
	fmt.Println("with gonso: ", b)
}
