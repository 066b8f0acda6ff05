//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/gonso/gonso/gonso"
)

var readSetgroups = gonso.Register("example.readSetgroups", func(ctx context.Context, path string) ([]byte, error) {
	return os.ReadFile(path)
})

// Denied, groups that take rights away cannot be dropped inside.
func ExampleSetgroups() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User, gonso.Setgroups(false))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	b, err := readSetgroups.Do(context.Background(), s, "/proc/self/setgroups")
	fmt.Println(strings.TrimSpace(string(b)), err)
	// Output: deny <nil>
}
