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
	const output = "a: content of a\nb: content of b\n2 files, error <nil>"
	s, err := gonso.Unshare(gonso.User | gonso.Mount)
	if err != nil {
		cannot("userns", err, output)
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
	s, err := gonso.Unshare(gonso.User | gonso.Mount)
	if err != nil {
		cannot("userns", err, "NAME=example <nil>\noutside: 0 files")
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

// sum is what a file holds.
type sum struct {
	Path  string
	Bytes int
}

// measure is the argument of measured: work as it is found, and results as they come.
type measure struct {
	Paths <-chan string
	Sums  chan<- sum
}

// measured measures files until there are no more paths. Each result is on its way at once.
var measured = gonso.Register("example.measure", func(ctx context.Context, m measure) (files int, err error) {
	for path := range m.Paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return files, err
		}
		select {
		case m.Sums <- sum{filepath.Base(path), len(b)}:
			files++
		case <-ctx.Done():
			return files, ctx.Err()
		}
	}
	return files, nil
})

// Paths go into a Set as they are found, and results come out as they are made,
// through channels in the argument. The caller closes its own, after Do.
func ExampleFunc_Do_channels() {
	const output = "one has 1 bytes\nthree has 3 bytes\n2 files, error <nil>"
	s, err := gonso.Unshare(gonso.User | gonso.Mount)
	if err != nil {
		cannot("userns", err, output)
		return
	}
	defer s.Close()
	dir, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	paths, sums, printed := make(chan string), make(chan sum), make(chan struct{})
	go func() {
		defer close(paths) // the function's loop ends
		for name, content := range map[string]string{"one": "1", "three": "333"} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				fmt.Println(err)
				return
			}
			paths <- path
		}
	}()
	go func() {
		defer close(printed)
		for r := range sums {
			fmt.Printf("%s has %d bytes\n", r.Path, r.Bytes)
		}
	}()
	files, err := measured.Do(context.Background(), s, measure{Paths: paths, Sums: sums})
	close(sums)
	<-printed
	fmt.Printf("%d files, error %v\n", files, err)
	// Unordered output:
	// one has 1 bytes
	// three has 3 bytes
	// 2 files, error <nil>
}

// A closure in a directory and with a umask of its own. The rest of the program
// keeps its own.
func ExampleDir() {
	dir, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	var here gonso.Set // the zero Set: work runs where it is
	err = here.Run(func() error {
		return os.WriteFile("file", nil, 0o666)
	}, gonso.Dir(dir), gonso.Umask(0o027))
	if err != nil {
		fmt.Println(err)
		return
	}
	fi, err := os.Stat(filepath.Join(dir, "file"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(fi.Mode())
	// Output: -rw-r-----
}
