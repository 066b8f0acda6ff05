//go:build linux

package gonso_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

var openInside = gonso.Register("example.open", func(_ context.Context, dir string) (*os.File, error) {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return nil, os.NewSyscallError("mount", err)
	}
	name := filepath.Join(dir, "greeting")
	if err := os.WriteFile(name, []byte("hello from inside\n"), 0o600); err != nil {
		return nil, err
	}
	return os.Open(name)
})

// A file that a function opens inside is read outside, where it has no name.
func ExampleFunc_Do_files() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User | gonso.Mount)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	dir, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(dir)

	f, err := openInside.Do(context.Background(), s, dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	fmt.Print(string(b))
	if _, staterr := os.Stat(filepath.Join(dir, "greeting")); !errors.Is(staterr, os.ErrNotExist) || err != nil {
		fmt.Println(staterr, err)
	}
	// Output: hello from inside
}
