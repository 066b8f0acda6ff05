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
	s, err := gonso.Unshare(gonso.User | gonso.Mount)
	if err != nil {
		cannot("userns", err, "hello from inside")
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

// A directory that was opened is the working directory of work, whatever its path means by then.
func ExampleDirFile() {
	path, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(path)
	dir, err := os.Open(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer dir.Close()

	var s gonso.Set // or any other
	err = s.Run(func() error {
		return os.WriteFile("made", nil, 0o600)
	}, gonso.DirFile(dir))
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = os.Stat(filepath.Join(path, "made"))
	fmt.Println("made there:", err == nil)
	// Output: made there: true
}
