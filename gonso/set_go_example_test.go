//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/gonso/gonso/gonso"
)

// A web server that listens inside for as long as the program wants. Its connections are inside, in
// whatever goroutine they are served. It needs CAP_SYS_ADMIN.
func ExampleSet_Go() {
	s, err := gonso.Unshare(gonso.Net, gonso.LoopbackUp())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "hello")
	})}
	var listener net.Listener
	ended := make(chan error, 1)
	err = s.Go(func() (err error) {
		listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}, func() {
		ended <- server.Serve(listener)
	})
	if err != nil { // also that of Listen
		fmt.Println(err)
		return
	}

	client := &http.Client{Transport: &http.Transport{DialContext: s.DialContext, DisableKeepAlives: true}}
	answer, err := client.Get("http://" + listener.Addr().String())
	if err != nil {
		fmt.Println(err)
		return
	}
	text, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	fmt.Print(string(text))

	_ = server.Shutdown(context.Background())
	fmt.Println(<-ended)
	// Output:
	// hello
	// http: Server closed
}
