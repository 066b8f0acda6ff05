//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/gonso/gonso/gonso"
)

// A tar stream of a file system that only the Set has goes to a pipe.
func ExampleCmd_StdoutPipe() {
	s, err := gonso.Unshare(gonso.User | gonso.Mount)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	if _, err := exec.LookPath("tar"); err != nil {
		fmt.Println(err)
		return
	}

	dir, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(dir)
	const script = `mount -t tmpfs none "$1" && cd "$1" && mkdir files && echo hello >files/hello`
	fill := s.Command(context.Background(), "sh", "-c", script, "sh", dir)
	if out, err := fill.CombinedOutput(); err != nil {
		fmt.Println(err, string(out))
		return
	}

	pack := s.Command(context.Background(), "tar", "c", "files")
	pack.Dir = dir
	stream, err := pack.StdoutPipe()
	if err != nil {
		fmt.Println(err)
		return
	}
	list := exec.Command("tar", "t") // outside, where there are no such files
	list.Stdin = stream
	if err := pack.Start(); err != nil {
		fmt.Println(err)
		return
	}
	out, err := list.Output()
	if err := pack.Wait(); err != nil {
		fmt.Println(err)
	}
	fmt.Print(string(out))
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// files/
	// files/hello
}
