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
var rename = gonso.Register("example.rename", func(ctx context.Context, name string) (string, error) {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return "", err
	}
	return os.Hostname()
})

// A registered function runs in namespaces that need no privilege. The program's
// main, or TestMain, calls [gonso.Init] first.
func Example() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	before, _ := os.Hostname()
	inside, err := rename.Do(context.Background(), s, "blue")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("inside:", inside)
	if after, _ := os.Hostname(); after == before {
		fmt.Println("outside: unchanged")
	}
	// Output:
	// inside: blue
	// outside: unchanged
}
