//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gonso/gonso/gonso"
)

// After Close and Wait nothing of a command runs any more, also no daemon that it has left behind.
func ExampleSet_Wait() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User | gonso.PID)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Command(ctx, "sh", "-c", "sleep 600 &").Run(); err != nil {
		fmt.Println(err)
		return
	}
	s.Close() // ends sleep
	if err := s.Wait(ctx); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("nothing is left")
	// Output: nothing is left
}
