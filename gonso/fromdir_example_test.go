//go:build linux

package gonso_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/gonso/gonso/gonso"
)

// Names that are those of no types, as in /run/netns, do not matter.
func ExampleFromDir() {
	dir, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	// As ip-netns(8) leaves them in /run/netns.
	if err := os.Symlink("/proc/self/ns/net", filepath.Join(dir, "blue")); err != nil {
		fmt.Println(err)
		return
	}

	s, err := gonso.FromDir(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	fmt.Println(s.Types())
	// Output: net
}
