//go:build linux

package gonso_test

import (
	"fmt"
	"os/exec"

	"github.com/gonso/gonso/gonso"
)

// Namespaces of a running process, whoever made it.
func ExampleFromPID() {
	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		fmt.Println(err)
		return
	}
	defer c.Wait()
	defer c.Process.Kill()

	s, err := gonso.FromPID(c.Process.Pid, gonso.Net, gonso.PID)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	own, err := gonso.Current()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer own.Close()

	a, _ := s.ID(gonso.Net)
	b, _ := own.ID(gonso.Net)
	fmt.Println(s.Types(), a == b)
	// Output: net|pid true
}
