//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gonso/gonso/gonso"
)

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
