//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/gonso/gonso/gonso"
)

// visit is the argument of visited. Exported fields cross.
type visit struct {
	Name string
	For  time.Duration
}

// visited is known to the worker by the same name: a worker is the same program.
var visited = gonso.Register("example.visited", func(ctx context.Context, v visit) (string, error) {
	return fmt.Sprintf("%s is uid %d for %v", v.Name, os.Getuid(), v.For), ctx.Err()
})

// A function is registered in a package-level variable. Its argument and its result can be structs.
func ExampleRegister() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	fmt.Println(visited.Do(context.Background(), s, visit{Name: "the guest", For: time.Minute}))
	// Output: the guest is uid 0 for 1m0s <nil>
}
