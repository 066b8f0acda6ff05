//go:build linux

// Command webserver serves HTTP in a network namespace, and asks that server.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"

	"github.com/gonso/gonso/gonso"
)

func main() {
	gonso.Init() // a worker makes the sockets, as the Set has a user namespace
	ctx := context.Background()
	s, err := gonso.Unshare(gonso.User|gonso.Net, gonso.LoopbackUp())
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	listener, err := s.Listen(ctx, "tcp", "127.0.0.1:80")
	if err != nil {
		log.Fatal(err)
	}
	hello := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello from inside") }
	server := &http.Server{Handler: http.HandlerFunc(hello)}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }() // outside, with the files of this program
	defer server.Close()

	client := &http.Client{Transport: &http.Transport{DialContext: s.DialContext}}
	answer, err := client.Get("http://127.0.0.1/")
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	fmt.Print(string(text))
	if err != nil {
		log.Fatal(err)
	}
}
