//go:build linux

// Command fromreexec does the same with moby/sys/reexec and with gonso.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"syscall"

	"github.com/moby/sys/reexec"

	"github.com/gonso/gonso/gonso"
)

// setName is the work that is done inside.
func setName(_ context.Context, name string) (string, error) {
	if err := syscall.Sethostname([]byte(name)); err != nil {
		return "", err
	}
	return os.Hostname()
}

// With reexec, arguments are in os.Args, and results are printed.
func init() {
	reexec.Register("child", func() {
		fmt.Println(setName(context.Background(), os.Args[1]))
	})
}

func withReexec() {
	c := reexec.Command("child", "inside")
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWUTS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}},
	}
	out, err := c.Output()
	fmt.Print(string(out))
	if err != nil {
		log.Fatal(err)
	}
}

// With gonso, both are Go values, and an error is an error.
var rename = gonso.Register("rename", setName)

func withGonso() {
	s, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	fmt.Println(rename.Do(context.Background(), s, "inside"))
}

func main() {
	gonso.Init() // also calls what is registered with reexec
	withReexec()
	withGonso()
}
