//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gonso/gonso/gonso"
)

// As with podman's keep-id, a plain user has its own id inside, and root is one of its subordinate
// ids.
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
	s, err := gonso.Unshare(gonso.User, gonso.IDMaps(keep(uid), keep(gid)))
	if err != nil { // for example gonso.ErrNoSubIDs, if the user has no range
		fmt.Println(err)
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
