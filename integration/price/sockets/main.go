// Command sockets listens and dials in a network namespace.
package main

import (
	"context"
	"os"

	"github.com/gonso/gonso/gonso"
)

func main() {
	ctx := context.Background()
	s, err := gonso.Unshare(gonso.Net, gonso.LoopbackUp())
	if err == nil {
		var l interface{ Close() error }
		if l, err = s.Listen(ctx, "tcp", "127.0.0.1:80"); err == nil {
			_, err = s.DialContext(ctx, "tcp", "127.0.0.1:80")
			l.Close()
		}
	}
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
}
