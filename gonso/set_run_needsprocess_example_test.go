//go:build linux

package gonso_test

import (
	"errors"
	"fmt"

	"github.com/gonso/gonso/gonso"
)

// No thread of a Go program can enter a user namespace. The error says so before
// the closure runs.
func ExampleSet_Run_needsProcess() {
	s, err := gonso.Unshare(gonso.User | gonso.Net)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	err = s.Run(func() error {
		panic("not reached")
	})
	var refusal *gonso.Error
	if errors.As(err, &refusal) {
		fmt.Printf("needs a process: %v, about %v\n", errors.Is(err, gonso.ErrNeedsProcess), refusal.Type)
	}
	// Output: needs a process: true, about user
}
