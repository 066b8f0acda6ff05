//go:build linux

package gonso_test

import (
	"errors"
	"fmt"
	"os"

	"github.com/gonso/gonso/gonso"
)

// A daemon of root's makes the user namespace of a container in the name of the user that the
// container is for: that user, and nobody else but root, has all capabilities in it from outside.
func ExampleOwnerUID() {
	ids := []gonso.IDMap{{ContainerID: 0, HostID: 1000, Size: 1}}
	s, err := gonso.Unshare(gonso.User|gonso.Net, gonso.OwnerUID(1000), gonso.IDMaps(ids, ids))
	switch {
	case errors.Is(err, os.ErrPermission):
		cannot("root", err, "owned by 1000")
		return
	case err != nil:
		cannot("userns", err, "owned by 1000")
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
