//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/gonso/gonso/gonso"
)

var keptIDs = gonso.Register("example.keptIDs", func(context.Context, struct{}) ([2]int, error) {
	return [2]int{os.Getuid(), os.Getgid()}, nil
})

// A worker that does not become root keeps the ids of this process.
func ExampleSet_SetWorker() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User, gonso.IDMaps(
		[]gonso.IDMap{{ContainerID: 7, HostID: uint32(os.Geteuid()), Size: 1}},
		[]gonso.IDMap{{ContainerID: 7, HostID: uint32(os.Getegid()), Size: 1}},
	))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	if err := s.SetWorker(gonso.Worker{KeepIDs: true, Idle: time.Minute}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(keptIDs.Do(context.Background(), s, struct{}{}))
	// Output: [7 7] <nil>
}
