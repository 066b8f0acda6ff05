//go:build linux

// Command fromnetns does the same with vishvananda/netns and with gonso.
package main

import (
	"fmt"
	"log"
	"net"
	"runtime"

	"github.com/vishvananda/netns"

	"github.com/gonso/gonso/gonso"
)

// withNetns needs a locked thread, and has to come back on all ways out.
func withNetns() (n int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	origin, err := netns.Get()
	if err != nil {
		return 0, err
	}
	defer origin.Close()
	inside, err := netns.New() // the thread is in it from here on
	if err != nil {
		return 0, err
	}
	defer inside.Close()
	interfaces, err := net.Interfaces()
	if err := netns.Set(origin); err != nil {
		panic(err) // the thread is lost
	}
	return len(interfaces), err
}

func withGonso() (n int, err error) {
	s, err := gonso.Unshare(gonso.Net)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	err = s.Run(func() error {
		interfaces, err := net.Interfaces()
		n = len(interfaces)
		return err
	})
	return n, err
}

func main() {
	a, err := withNetns()
	if err != nil {
		log.Fatal(err)
	}
	b, err := withGonso()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same:", a == b)
}
