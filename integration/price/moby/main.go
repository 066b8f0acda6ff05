// Command moby starts itself again by moby/sys/reexec.
package main

import (
	"os"

	"github.com/moby/sys/reexec"
)

func init() { reexec.Register("again", func() {}) }

func main() {
	if reexec.Init() {
		return
	}
	if err := reexec.Command("again").Run(); err != nil {
		println(err.Error())
		os.Exit(1)
	}
}
