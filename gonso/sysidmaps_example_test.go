//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"github.com/gonso/gonso/gonso"
)

// Maps that were made for os/exec are converted, and are those of the Set then.
func ExampleSysIDMaps() {
	attr := &syscall.SysProcAttr{
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 7, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 8, HostID: os.Getegid(), Size: 1}},
	}
	uid, err := gonso.SysIDMaps(attr.UidMappings)
	if err != nil {
		fmt.Println(err)
		return
	}
	gid, err := gonso.SysIDMaps(attr.GidMappings)
	if err != nil {
		fmt.Println(err)
		return
	}
	s, err := gonso.Unshare(gonso.User, gonso.IDMaps(uid, gid))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	id := s.Command(context.Background(), "sh", "-c", "echo $(id -u):$(id -g)")
	id.KeepIDs = true
	out, err := id.Output()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(out))
	// Output: 7:8
}
