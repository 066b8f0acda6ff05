//go:build linux

package gonso_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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
		cannot("userns", err, "7:8")
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

// As with podman's keep-id, a plain user has its own id inside, and root is one of its subordinate ids.
func ExampleIDMaps_plainUser() {
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	keep := func(own uint32) []gonso.IDMap {
		const first = 100000 // of the user's range in /etc/subuid and /etc/subgid
		return []gonso.IDMap{
			{ContainerID: 0, HostID: first, Size: own},
			{ContainerID: own, HostID: own, Size: 1},
			{ContainerID: own + 1, HostID: first + own, Size: 1000},
		}
	}
	if uid == 0 {
		cannot("plain", errors.New("root needs no subordinate ids"), "uid kept: true")
		return
	}
	s, err := gonso.Unshare(gonso.User, gonso.IDMaps(keep(uid), keep(gid)))
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, gonso.ErrNoSubIDs), errors.Is(err, os.ErrPermission):
		cannot("subids", err, "uid kept: true")
		return
	case err != nil:
		cannot("userns", err, "uid kept: true")
		return
	}
	defer s.Close()

	id := s.Command(context.Background(), "id", "-u")
	id.KeepIDs = true
	out, err := id.Output()
	fmt.Println("uid kept:", string(out) == fmt.Sprintln(uid))
	if err != nil {
		fmt.Println(err)
	}
	// Output: uid kept: true
}
