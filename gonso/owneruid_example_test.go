//go:build linux

package gonso_test

import (
	"fmt"

	"github.com/gonso/gonso/gonso"
)

// A daemon of root's makes the user namespace of a container in the name of the user that the
// container is for: that user, and nobody else but root, has all capabilities in it from outside.
func ExampleOwnerUID() {
	ids := []gonso.IDMap{{ContainerID: 0, HostID: 1000, Size: 1}}
	s, err := gonso.Unshare(gonso.User|gonso.Net, gonso.OwnerUID(1000), gonso.IDMaps(ids, ids))
	if err != nil { // os.ErrPermission, if a capability is missing
		fmt.Println(err)
		return
	}
	defer s.Close()

	uid, err := s.OwnerUID()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("owned by", uid)
	// Output: owned by 1000
}
