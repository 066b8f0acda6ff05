//go:build linux

package gonso_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/gonso/gonso/gonso"
)

var readFile = gonso.Register("example.read", func(ctx context.Context, path string) ([]byte, error) {
	return os.ReadFile(path)
})

// Errors keep what errors.Is and errors.As find, on both backends.
func ExampleFunc_Do() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	_, err = readFile.Do(context.Background(), s, "/no/such/file")
	var pe *fs.PathError
	if errors.As(err, &pe) {
		fmt.Println(pe.Op, pe.Path, errors.Is(err, fs.ErrNotExist))
	}
	// Output: open /no/such/file true
}
