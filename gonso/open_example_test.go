//go:build linux

package gonso_test

import (
	"errors"
	"fmt"

	"github.com/gonso/gonso/gonso"
)

func ExampleOpen() {
	_, err := gonso.Open("/etc/passwd")
	fmt.Println(err)
	fmt.Println(errors.Is(err, gonso.ErrNotNamespace))
	// Output:
	// gonso: open /etc/passwd: not a namespace file
	// true
}
