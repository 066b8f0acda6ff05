//go:build linux

package gonso_test

import (
	"context"
	"fmt"

	"github.com/gonso/gonso/gonso"
)

// A plain user makes namespaces, too, if a user namespace is one of them.
func ExampleUnshare() {
	s, err := gonso.Unshare(gonso.User | gonso.Net | gonso.UTS)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	fmt.Println(s.Types())

	out, err := s.Command(context.Background(), "sh", "-c", "hostname inside; hostname; id -u").CombinedOutput()
	fmt.Print(string(out))
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// net|user|uts
	// inside
	// 0
}
