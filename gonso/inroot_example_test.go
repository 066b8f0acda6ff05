//go:build linux

package gonso_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/gonso/gonso/gonso"
)

// An image's link to /etc/passwd means that of the image, and not that of the Set.
func ExampleInRoot() {
	root, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(root)
	if err := errors.Join(
		os.Mkdir(filepath.Join(root, "etc"), 0o755),
		os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("of the image\n"), 0o644),
		os.Symlink("/etc/passwd", filepath.Join(root, "users")),
	); err != nil {
		fmt.Println(err)
		return
	}

	var s gonso.Set // or one in whose mount namespace the image is
	f, err := s.OpenFile(context.Background(), "/users", os.O_RDONLY, 0, gonso.InRoot(root))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	fmt.Print(string(b))
	if err != nil {
		fmt.Println(err)
	}
	// Output: of the image
}
