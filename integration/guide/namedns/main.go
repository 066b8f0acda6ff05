//go:build linux

// Command namedns makes a network namespace that ip(8) finds by a name, and takes it away again.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"

	"github.com/gonso/gonso/gonso"
)

const path = "/run/netns/gonso-guide" // where "ip netns" looks for names

// makeNamed makes a network namespace that lasts until Unpin, also when this program has ended.
func makeNamed() error {
	s, err := gonso.Unshare(gonso.Net, gonso.LoopbackUp())
	if err != nil {
		return err
	}
	defer s.Close()
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	return s.PinNS(gonso.Net, path)
}

func main() {
	if err := makeNamed(); err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := gonso.Unpin(path); err != nil {
			log.Print(err)
		}
	}()

	// ip finds it,
	out, err := exec.Command("ip", "-netns", "gonso-guide", "-4", "address").CombinedOutput()
	fmt.Println("by ip:   ", strings.Contains(string(out), "127.0.0.1/8"))
	if err != nil {
		log.Print(err)
	}

	// and so does any program that opens the path. It also opens what "ip netns add" has made.
	s, err := gonso.Open(path)
	if err != nil {
		log.Print(err)
		return
	}
	defer s.Close()
	lo, err := s.InterfaceByName(context.Background(), "lo")
	fmt.Println("by gonso:", lo.Name, lo.Addrs, err)
}
