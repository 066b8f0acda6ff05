//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// Registered functions are known to the worker under the same names, because it
// is the same program: a package-level variable makes sure of that.
var callIt = gonso.Register("example.callIt", func(ctx context.Context, name string) (string, error) {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return "", err
	}
	return os.Hostname()
})

func ExampleSet_Warm() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	ctx := context.Background()
	if err := s.Warm(ctx); err != nil { // starts the worker
		fmt.Println(err)
		return
	}
	fmt.Println(callIt.Do(ctx, s, "blue")) // a round trip
	// Output: blue <nil>
}
