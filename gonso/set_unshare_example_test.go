//go:build linux

package gonso_test

import (
	"fmt"

	"github.com/gonso/gonso/gonso"
)

// Inside a Set with a user namespace, more is made without privileges. Other
// namespaces stay those of the Set.
func ExampleSet_Unshare() {
	outer, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer outer.Close()

	inner, err := outer.Unshare(gonso.Net)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer inner.Close()
	fmt.Println(inner.Types())

	a, _ := outer.ID(gonso.UTS)
	b, _ := inner.ID(gonso.UTS)
	fmt.Println("same uts:", a == b)
	// Output:
	// net|user|uts
	// same uts: true
}
