//go:build linux

package gonso_test

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// pack is the argument of packTree: where from, and where to.
type pack struct {
	Dir string
	To  io.Writer
}

// packTree makes a tmpfs that only this mount namespace has, puts something in it,
// and writes that as a tar.
var packTree = gonso.Register("example.pack", func(_ context.Context, p pack) (files int, err error) {
	if err := unix.Mount("tmpfs", p.Dir, "tmpfs", 0, ""); err != nil {
		return 0, os.NewSyscallError("mount", err)
	}
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(filepath.Join(p.Dir, name), []byte("content of "+name), 0o644); err != nil {
			return 0, err
		}
		files++
	}
	t := tar.NewWriter(p.To)
	return files, errors.Join(t.AddFS(os.DirFS(p.Dir)), t.Close())
})

// A tar is streamed out of a Set, and read while it is written: the io.Writer in
// the argument crosses as a pipe that Do drains.
func ExampleFunc_Do_stream() {
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

	r, w := io.Pipe()
	read := make(chan struct{})
	go func() {
		defer close(read)
		for t := tar.NewReader(r); ; {
			h, err := t.Next()
			if err != nil {
				r.CloseWithError(err)
				return
			}
			if b, err := io.ReadAll(t); err == nil && h.Typeflag == tar.TypeReg {
				fmt.Printf("%s: %s\n", h.Name, b)
			}
		}
	}()
	files, err := packTree.Do(context.Background(), s, pack{Dir: dir, To: w})
	w.Close()
	<-read
	fmt.Printf("%d files, error %v\n", files, err)
	// Output:
	// a: content of a
	// b: content of b
	// 2 files, error <nil>
}
