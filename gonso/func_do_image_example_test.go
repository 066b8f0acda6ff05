//go:build linux

package gonso_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// install is an image, a tar, and where to put it.
type install struct {
	Image io.Reader
	Dir   string
}

// installed mounts a file system that only this mount namespace has, unpacks the
// image there, makes it read-only, and reads what it is called.
var installed = gonso.Register("example.install", func(_ context.Context, in install) (string, error) {
	if err := unix.Mount("tmpfs", in.Dir, "tmpfs", 0, "mode=0755"); err != nil {
		return "", os.NewSyscallError("mount", err)
	}
	for t := tar.NewReader(in.Image); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return "", err
		}
		path := filepath.Join(in.Dir, filepath.Clean("/"+h.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		b, err := io.ReadAll(t)
		if err == nil {
			err = os.WriteFile(path, b, h.FileInfo().Mode())
		}
		if err != nil {
			return "", err
		}
	}
	if err := unix.Mount("", in.Dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return "", os.NewSyscallError("remount", err)
	}
	b, err := os.ReadFile(filepath.Join(in.Dir, "etc/os-release"))
	if err == nil && !errors.Is(os.WriteFile(filepath.Join(in.Dir, "new"), nil, 0o644), unix.EROFS) {
		err = errors.New("it can be written to")
	}
	return string(b), err
})

// An image is mounted and read in a mount namespace of its own, without privileges
// and without a trace outside. It comes in through a pipe that Do feeds.
func ExampleFunc_Do_image() {
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

	var image bytes.Buffer
	t := tar.NewWriter(&image)
	const release = "NAME=example"
	err = t.WriteHeader(&tar.Header{Name: "etc/os-release", Size: int64(len(release)), Mode: 0o644})
	if err == nil {
		_, err = io.WriteString(t, release)
	}
	if err := errors.Join(err, t.Close()); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(installed.Do(context.Background(), s, install{Image: &image, Dir: dir}))
	files, _ := filepath.Glob(dir + "/*")
	fmt.Println("outside:", len(files), "files")
	// Output:
	// NAME=example <nil>
	// outside: 0 files
}
