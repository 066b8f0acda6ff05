//go:build linux

// Command processes has processes of its own, which end with the Set.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/gonso/gonso/gonso"
)

func main() {
	s, err := gonso.Unshare(gonso.User|gonso.PID|gonso.Mount, gonso.MountProc())
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	// The shell leaves a process behind that has the end w of a pipe open. Process 1 is gonso's init,
	// which takes such orphans.
	r, w, err := os.Pipe()
	if err != nil {
		log.Fatal(err)
	}
	const script = "sleep infinity >/dev/null 2>&1 & echo processes: /proc/[0-9]*"
	c := s.Command(context.Background(), "sh", "-c", script)
	c.ExtraFiles = []*os.File{w}
	out, err := c.Output()
	fmt.Print(string(out))
	if err != nil {
		log.Fatal(err)
	}
	w.Close()

	s.Close() // nothing uses the namespace now: all that is inside is killed
	_, err = io.ReadAll(r)
	fmt.Println("all have ended:", err == nil)
}
