//go:build linux

// Command untrusted reads data that nobody trusts, in a process that can reach nothing: no files,
// no network, no other processes.
//
//	untrusted <ARCHIVE
package main

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"

	"github.com/gonso/gonso/gonso"
)

// found is what the function has found out.
type found struct {
	Names     []string // in the archive
	Files     int      // that the process sees
	Addresses int      // that it could use
}

// listed lists a zip archive. All that it gets is in its argument.
var listed = gonso.Register("listed", func(_ context.Context, archive []byte) (f found, err error) {
	entries, _ := os.ReadDir("/")
	addresses, _ := net.InterfaceAddrs()
	f.Files, f.Addresses = len(entries), len(addresses)
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		return f, err
	}
	for _, file := range r.File {
		f.Names = append(f.Names, file.Name)
	}
	return f, nil
}, gonso.StartsGoroutines())

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	gonso.Init()
	ctx := context.Background()
	archive := must(io.ReadAll(os.Stdin))
	s := must(gonso.Unshare(gonso.User | gonso.Mount | gonso.PID | gonso.Net | gonso.IPC))
	defer s.Close()
	path := must(os.MkdirTemp("", "empty-"))
	defer os.Remove(path)
	empty := must(os.Open(path))

	// Each call has a process of its own, with an empty directory as its root.
	out, err := listed.Do(ctx, s, archive, gonso.Isolated(), gonso.Root(empty))
	fmt.Printf("%+v %v\n", out, err)
	_, err = listed.Do(ctx, s, archive[:len(archive)/2], gonso.Isolated(), gonso.Root(empty))
	fmt.Println("cut:", err)
}
