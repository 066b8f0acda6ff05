//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

var mountTmp = gonso.Register("example.mount", func(_ context.Context, at string) ([]string, error) {
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, ""); err != nil {
		return nil, os.NewSyscallError("mount", err)
	}
	if err := os.WriteFile(filepath.Join(at, "inside"), nil, 0o600); err != nil {
		return nil, err
	}
	return filepath.Glob(at + "/*")
})

// What is mounted inside stays inside. Private keeps out the host's later mounts
// too, which come in by default.
func ExamplePropagation() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User|gonso.Mount, gonso.Propagation(gonso.PropagationPrivate))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	dir, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(dir)

	files, err := mountTmp.Do(context.Background(), s, dir)
	fmt.Println("inside:", len(files), err)
	files, _ = filepath.Glob(dir + "/*")
	fmt.Println("outside:", len(files))
	// Output:
	// inside: 1 <nil>
	// outside: 0
}
