//go:build linux

// Command files has a file system that only it sees, and gets an open file out of it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// private mounts an empty file system on a directory.
var private = gonso.Register("private", func(_ context.Context, dir string) (struct{}, error) {
	return struct{}{}, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m")
})

func main() {
	gonso.Init()
	ctx := context.Background()
	s, err := gonso.Unshare(gonso.User | gonso.Mount)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	dir, err := os.MkdirTemp("", "files-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(dir) // it is empty: what is mounted there is inside
	if _, err := private.Do(ctx, s, dir); err != nil {
		log.Fatal(err)
	}

	name := filepath.Join(dir, "note")
	f, err := s.OpenFile(ctx, name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	fmt.Fprintln(f, "written outside, kept inside")

	out, err := s.Command(ctx, "cat", name).Output()
	fmt.Print("inside: ", string(out))
	if err != nil {
		log.Fatal(err)
	}
	_, err = os.Stat(name)
	fmt.Println("missing outside:", os.IsNotExist(err))
}
