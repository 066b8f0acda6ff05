//go:build linux

package reexec_test

import (
	"fmt"
	"strings"

	"github.com/gonso/gonso/reexec"
)

// The kernel executes the shell in place of a script.
func ExampleInterpreter() {
	path, script := reexec.Interpreter(strings.NewReader("#!/bin/sh\necho hello\n"))
	fmt.Println(path, script)
	// Output: /bin/sh true
}
