// Command dynamic has functions look around in a foreign root. Built with cgo it is
// dynamically linked, as it uses package net, and finds no loader there.
//
//	dynamic DIR [HELPER]
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

var (
	pivot = gonso.Register("pivot", func(_ context.Context, dir string) (struct{}, error) {
		return struct{}{}, errors.Join(
			unix.Mount("tmpfs", dir, "tmpfs", 0, ""),
			os.Mkdir(dir+"/inside", 0o755),
			unix.PivotRoot(dir, dir),
			unix.Unmount("/", unix.MNT_DETACH),
			os.Chdir("/"))
	})
	plain      = gonso.Register("plain", look)
	goroutines = gonso.Register("goroutines", func(ctx context.Context, in struct{}) (string, error) {
		type answer struct {
			root string
			err  error
		}
		c := make(chan answer)
		go func() {
			root, err := look(ctx, in)
			c <- answer{root, err}
		}()
		a := <-c
		return a.root, a.err
	}, gonso.StartsGoroutines())
)

func look(context.Context, struct{}) (string, error) {
	var names []string
	entries, err := os.ReadDir("/")
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " "), err
}

func main() {
	gonso.Init()
	net.ParseIP("127.0.0.1")
	s, err := gonso.Unshare(gonso.Mount)
	if err == nil {
		_, err = pivot.Do(context.Background(), s, os.Args[1], gonso.Isolated())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	in, err := s.Dup() // whose worker nobody has started
	if err == nil && len(os.Args) > 2 {
		err = in.SetWorker(gonso.Worker{Path: os.Args[2]})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	root, err := plain.Do(context.Background(), in, struct{}{})
	fmt.Printf("plain: %s, %v\n", root, err)
	root, err = goroutines.Do(context.Background(), in, struct{}{})
	fmt.Printf("goroutines: %s, %v\n", root, err)
	in.Close()
	s.Close()
}
