//go:build linux

// Command untrusted reads data that nobody trusts, in a process that can reach nothing: no files,
// no network, no other processes.
package main

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"github.com/gonso/gonso/gonso"
)

// found is what the function has found out.
type found struct {
	Names      []string // in the archive
	Files      int      // that the process sees
	Interfaces int      // that are up
}

// listed lists a zip archive. All that it gets is in its argument.
var listed = gonso.Register("listed", func(_ context.Context, archive []byte) (f found, err error) {
	entries, err := os.ReadDir("/")
	if err != nil {
		return f, err
	}
	f.Files = len(entries)
	interfaces, err := net.Interfaces()
	for _, i := range interfaces {
		if i.Flags&net.FlagUp != 0 {
			f.Interfaces++
		}
	}
	if err != nil {
		return f, err
	}
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return f, err
	}
	for _, file := range r.File {
		f.Names = append(f.Names, file.Name)
	}
	return f, nil
}, gonso.StartsGoroutines())

func main() {
	gonso.Init()
	ctx := context.Background()
	s, err := gonso.Unshare(gonso.User | gonso.Mount | gonso.PID | gonso.Net | gonso.IPC)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	path, err := os.MkdirTemp("", "empty-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(path)
	empty, err := os.Open(path)
	if err != nil {
		log.Fatal(err)
	}
	defer empty.Close()

	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	f, err := w.Create("a.txt")
	if err != nil {
		log.Fatal(err)
	}
	_, err = io.WriteString(f, "content")
	if err := errors.Join(err, w.Close()); err != nil {
		log.Fatal(err)
	}

	// A process of its own for this call, with an empty directory as its root.
	out, err := listed.Do(ctx, s, archive.Bytes(), gonso.Isolated(), gonso.Root(empty))
	fmt.Printf("%+v %v\n", out, err)
	_, err = listed.Do(ctx, s, []byte("no archive"), gonso.Isolated(), gonso.Root(empty))
	fmt.Println(err)
}
