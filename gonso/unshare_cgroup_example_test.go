//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/gonso/gonso/gonso"
)

var readCgroups = gonso.Register("example.readCgroups", func(ctx context.Context, path string) ([]byte, error) {
	return os.ReadFile(path)
})

// In a new cgroup namespace the cgroup that its maker was in is the root.
func ExampleUnshare_cgroup() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User | gonso.Cgroup)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	b, err := readCgroups.Do(context.Background(), s, "/proc/self/cgroup")
	root := true
	for line := range strings.Lines(string(b)) {
		root = root && strings.HasSuffix(line, ":/\n")
	}
	fmt.Println(root, err)
	// Output: true <nil>
}
