//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"time"

	"github.com/gonso/gonso/gonso"
)

// The function of the Pool starts each Set's worker, so that the first call in
// a Set is as fast as the next ones.
func ExamplePool() {
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
			cannot("userns", err, "blue\ngreen")
			return
		}
		inside, err := rename.Do(ctx, s, name)
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

func ExampleSet_Warm() {
	s, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		cannot("userns", err, "blue <nil>")
		return
	}
	defer s.Close()

	ctx := context.Background()
	if err := s.Warm(ctx); err != nil { // starts the worker
		fmt.Println(err)
		return
	}
	fmt.Println(rename.Do(ctx, s, "blue")) // a round trip
	// Output: blue <nil>
}
