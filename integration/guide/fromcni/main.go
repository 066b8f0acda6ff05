//go:build linux

// Command fromcni does the same with CNI's package ns and with gonso.
package main

import (
	"fmt"
	"log"
	"net"

	"github.com/containernetworking/plugins/pkg/ns"

	"github.com/gonso/gonso/gonso"
)

func withCNI(path string) (n int, err error) {
	inside, err := ns.GetNS(path)
	if err != nil {
		return 0, err
	}
	defer inside.Close()
	err = inside.Do(func(host ns.NetNS) error {
		interfaces, err := net.Interfaces()
		n = len(interfaces)
		return err
	})
	return n, err
}

func withGonso(path string) (n int, err error) {
	inside, err := gonso.Open(path)
	if err != nil {
		return 0, err
	}
	defer inside.Close()
	err = inside.Run(func() error { // for the host's namespace call gonso.Current before
		interfaces, err := net.Interfaces()
		n = len(interfaces)
		return err
	})
	return n, err
}

func main() {
	s, err := gonso.Unshare(gonso.Net)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	path := fmt.Sprintf("/proc/self/fd/%d", s.Fd(gonso.Net)) // as a CNI plugin gets one in CNI_NETNS

	a, err := withCNI(path)
	if err != nil {
		log.Fatal(err)
	}
	b, err := withGonso(path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same:", a == b)
}
