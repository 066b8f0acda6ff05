//go:build linux

package gonso_test

import (
	"fmt"

	"github.com/gonso/gonso/gonso"
)

// The zero Set has no namespaces: work runs where the program is.
func ExampleSet() {
	var s gonso.Set
	err := s.Run(func() error {
		fmt.Println("ran in", s.Types(), "namespaces")
		return nil
	})
	fmt.Println(err)
	// Output:
	// ran in 0 namespaces
	// <nil>
}
