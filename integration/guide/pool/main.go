//go:build linux

// Command pool has Sets ready before they are needed, each with its worker.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

var nameHost = gonso.Register("nameHost", func(_ context.Context, name string) (string, error) {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return "", err
	}
	return os.Hostname()
})

// newSet makes a Set and starts its worker, so that its first call is a round trip.
func newSet(ctx context.Context) (*gonso.Set, error) {
	s, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		return nil, err
	}
	return s, s.Warm(ctx) // the Pool closes a Set that comes with an error
}

func main() {
	gonso.Init()
	pool, err := gonso.NewPool(newSet, gonso.PoolOptions{Size: 2})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	for _, name := range []string{"red", "green", "blue"} {
		s, err := pool.Get(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(nameHost.Do(ctx, s, name))
		s.Close() // it is not used again
	}
}
