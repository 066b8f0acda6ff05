//go:build linux

package gonso_test

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

func ExampleType() {
	var t gonso.Type = unix.CLONE_NEWNS
	t |= gonso.Net
	fmt.Println(t)

	t, err := gonso.ParseType("uts,mount")
	fmt.Println(t, err)
	// Output:
	// mnt|net
	// mnt|uts <nil>
}
