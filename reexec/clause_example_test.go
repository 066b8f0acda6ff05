//go:build linux

package reexec_test

import (
	"fmt"

	"github.com/gonso/gonso/reexec"
)

// In the middle of a sentence an error stands without the name of the library.
func ExampleClause() {
	fmt.Println("the call failed:", reexec.Clause(reexec.ErrWorkerClosed))
	// Output: the call failed: the worker is closed
}
