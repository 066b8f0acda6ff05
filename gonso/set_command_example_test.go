//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os/exec"

	"github.com/gonso/gonso/gonso"
)

// A Cmd is used as one of package exec.
func ExampleSet_Command() {
	s, err := gonso.Unshare(gonso.User | gonso.Net)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	out, err := s.Command(context.Background(), "sh", "-c", "echo uid $(id -u)").Output()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Print(string(out))

	err = s.Command(context.Background(), "sh", "-c", "exit 3").Run()
	if ee, ok := err.(*exec.ExitError); ok {
		fmt.Println(ee)
	}
	// Output:
	// uid 0
	// exit status 3
}
