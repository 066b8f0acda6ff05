//go:build linux

// Command becomeroot goes on as root of a user namespace, in its own place: arguments, streams,
// signals and the exit status are as if nothing had happened.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

func main() {
	gonso.Init()
	if len(os.Args) < 2 || os.Args[1] != "inside" {
		s, err := gonso.Unshare(gonso.User | gonso.Mount | gonso.UTS) // with gonso.SubIDs() more ids
		if err != nil {
			log.Fatal(err)
		}
		args := append([]string{"inside"}, os.Args[1:]...)
		s.Self(context.Background(), args...).RunAndExit()
	}

	// From here on this is root, with mounts and a host name of its own.
	if err := unix.Sethostname([]byte("inside")); err != nil {
		log.Fatal(err)
	}
	if err := unix.Mount("tmpfs", "/mnt", "tmpfs", 0, ""); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile("/mnt/secret", []byte("only here"), 0o600); err != nil {
		log.Fatal(err)
	}
	name, err := os.Hostname()
	fmt.Println("uid", os.Getuid(), "on", name, os.Args[2:], err)
}
