//go:build linux

package gonso_test

import (
	"fmt"

	"github.com/gonso/gonso/gonso"
)

// A Plan is for people to read; its fields are for programs that want to know.
func ExampleSet_Plan() {
	s, err := gonso.Unshare(gonso.User | gonso.Net)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	route := s.Plan().Functions
	fmt.Println(route.Backend, route.Join, route.Why)
	// Output: process [user net] user: no thread of a Go program can enter it
}
