//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"net"

	"github.com/gonso/gonso/gonso"
)

// Interfaces are listed without a closure, and without filling package net's cache of zones.
func ExampleSet_Interfaces() {
	gonso.Init() // first in main: in a user namespace a worker does it

	s, err := gonso.Unshare(gonso.User|gonso.Net, gonso.LoopbackUp())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	ifs, err := s.Interfaces(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, i := range ifs {
		if i.Flags&net.FlagLoopback != 0 {
			fmt.Println(i.Name, i.Addrs)
		}
	}
	// Output: lo [127.0.0.1/8 ::1/128]
}
