//go:build !linux

package child

import (
	"fmt"
	"os"
)

// Main ends the process: there are no workers on this system.
func Main() {
	fmt.Fprintln(os.Stderr, "gonso: workers exist on Linux only")
	os.Exit(126)
}
