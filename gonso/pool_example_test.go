//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// Registered functions are known to the worker under the same names, because it
// is the same program: a package-level variable makes sure of that.
var nameIt = gonso.Register("example.nameIt", func(ctx context.Context, name string) (string, error) {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return "", err
	}
	return os.Hostname()
})

// The function of the Pool starts each Set's worker, so that the first call in
// a Set is as fast as the next ones.
func ExamplePool() {
	gonso.Init() // first in main

	pool, err := gonso.NewPool(func(ctx context.Context) (*gonso.Set, error) {
		s, err := gonso.Unshare(gonso.User | gonso.UTS)
		if err != nil {
			return nil, err
		}
		return s, s.Warm(ctx) // a Set that comes with an error is closed
	}, gonso.PoolOptions{Size: 2})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, name := range []string{"blue", "green"} {
		s, err := pool.Get(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		inside, err := nameIt.Do(ctx, s, name)
		s.Close() // it does not go back
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(inside)
	}
	// Output:
	// blue
	// green
}
