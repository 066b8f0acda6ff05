//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gonso/gonso/gonso"
)

// A rootless tool goes on as root of a user namespace of its own.
func ExampleCmd_RunAndExit() {
	gonso.Init() // first in main

	main := func() {
		gonso.Init()
		if os.Geteuid() != 0 {
			s, err := gonso.Unshare(gonso.User|gonso.Mount, gonso.SubIDs())
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			s.Self(context.Background(), os.Args[1:]...).RunAndExit(func(pid int) {
				_ = os.WriteFile("/run/user/tool.pid", fmt.Appendln(nil, pid), 0o600)
			})
		}
		// Root from here on.
	}
	_ = main
}
