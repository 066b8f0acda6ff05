//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gonso/gonso/gonso"
)

var number = gonso.Register("example.number", func(context.Context, struct{}) (int, error) { return os.Getpid(), nil })

// A Set with a pid namespace keeps its init, and closing it kills all that is
// inside.
func ExampleUnshare_pid() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User | gonso.PID)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	pid, err := number.Do(context.Background(), s, struct{}{})
	fmt.Println("process", pid, err)
	// Output: process 2 <nil>
}
