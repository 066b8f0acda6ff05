//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/gonso/gonso/gonso"
)

// A server in a net namespace, and a client that reaches it from outside: only
// their sockets are inside.
func ExampleSet_Listen() {
	gonso.Init() // first in main: in a user namespace a worker does it

	s, err := gonso.Unshare(gonso.User|gonso.Net, gonso.LoopbackUp())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	l, err := s.Listen(context.Background(), "tcp", "127.0.0.1:80")
	if err != nil {
		fmt.Println(err)
		return
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello from inside")
	})}
	go server.Serve(l)
	defer server.Close()

	transport := &http.Transport{DialContext: s.DialContext}
	defer transport.CloseIdleConnections()
	inside := &http.Client{Transport: transport}
	resp, err := inside.Get("http://127.0.0.1/")
	if err != nil {
		fmt.Println(err)
		return
	}
	b, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	fmt.Print(string(b))

	if _, err := http.Get("http://127.0.0.1/"); err != nil {
		fmt.Println("outside: nobody listens there")
	}
	// Output:
	// hello from inside
	// outside: nobody listens there
}
