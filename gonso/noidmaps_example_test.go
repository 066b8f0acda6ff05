//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gonso/gonso/gonso"
)

var overflowIDs = gonso.Register("example.overflowIDs", func(context.Context, struct{}) ([2]int, error) {
	return [2]int{os.Getuid(), os.Getgid()}, nil
})

// Without maps nobody has a name inside until somebody else writes them.
func ExampleNoIDMaps() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User, gonso.NoIDMaps())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	fmt.Println(overflowIDs.Do(context.Background(), s, struct{}{}))
	// Output: [65534 65534] <nil>
}
