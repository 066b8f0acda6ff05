//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/gonso/gonso/gonso"
)

var processes = gonso.Register("example.processes", func(context.Context, struct{}) ([]string, error) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	for i := range dirs {
		dirs[i] = filepath.Base(dirs[i])
	}
	return dirs, err
})

// In a new pid namespace, gonso's init is number 1 and the worker comes after it.
// A fresh /proc shows just those.
func ExampleMountProc() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User|gonso.PID|gonso.Mount, gonso.MountProc())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	fmt.Println(processes.Do(context.Background(), s, struct{}{}))
	// Output: [1 2] <nil>
}
