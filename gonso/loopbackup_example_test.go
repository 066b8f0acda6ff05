//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"net"

	"github.com/gonso/gonso/gonso"
)

var listen = gonso.Register("example.listen", func(ctx context.Context, address string) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}, gonso.StartsGoroutines())

// A new net namespace has nothing but a loopback interface that is down. Package
// net starts goroutines, which the option says.
func ExampleLoopbackUp() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User|gonso.Net, gonso.LoopbackUp())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	fmt.Println(listen.Do(context.Background(), s, "127.0.0.1:80"))
	// Output: 127.0.0.1:80 <nil>
}
