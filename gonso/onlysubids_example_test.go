//go:build linux

package gonso_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/gonso/gonso/gonso"
)

var mayRead = gonso.Register("example.mayRead", func(ctx context.Context, path string) (bool, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, f.Close()
})

// Root inside is nobody outside: it may not read what only the caller may.
func ExampleOnlySubIDs() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User|gonso.Mount, gonso.OnlySubIDs())
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, gonso.ErrNoSubIDs) {
		fmt.Println("no subordinate ids:", err)
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	secret, err := os.CreateTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(secret.Name())
	secret.Close() // its mode is 0600

	read, err := mayRead.Do(context.Background(), s, secret.Name())
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("root inside may read it:", read)
	// Output: root inside may read it: false
}
