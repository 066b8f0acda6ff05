//go:build linux

package gonso_test

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// The user namespace that owns a net namespace says who may configure it: its
// root, here by the name of the user who made it.
func ExampleSet_Owner() {
	s, err := gonso.Unshare(gonso.User | gonso.Net)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	owner, err := s.Owner(gonso.Net)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer owner.Close()

	uids, _, err := owner.IDMaps()
	if err != nil {
		fmt.Println(err)
		return
	}
	me := uint32(os.Geteuid())
	fmt.Println("root inside is this user:", len(uids) == 1 && uids[0] == gonso.IDMap{ContainerID: 0, HostID: me, Size: 1})

	maker, err := owner.OwnerUID()
	fmt.Println("made by this user:", maker == me && err == nil)

	// What is above this process's own user namespace cannot be seen.
	home, err := gonso.Current(gonso.User)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer home.Close()
	if _, err = home.Parent(gonso.User); errors.Is(err, unix.EPERM) {
		fmt.Println("above:", unix.EPERM)
	}
	// Output:
	// root inside is this user: true
	// made by this user: true
	// above: operation not permitted
}
