//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gonso/gonso/gonso"
)

var ids = gonso.Register("example.ids", func(context.Context, struct{}) ([2]int, error) {
	return [2]int{os.Getuid(), os.Getgid()}, nil
})

// The caller's own ids are 1000 and 100 inside. Work becomes root of a user
// namespace if there is one; here is none, and it keeps its capabilities.
func ExampleIDMaps() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User, gonso.IDMaps(
		[]gonso.IDMap{{ContainerID: 1000, HostID: uint32(os.Geteuid()), Size: 1}},
		[]gonso.IDMap{{ContainerID: 100, HostID: uint32(os.Getegid()), Size: 1}},
	))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	fmt.Println(ids.Do(context.Background(), s, struct{}{}))
	// Output: [1000 100] <nil>
}
