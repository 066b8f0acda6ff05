//go:build linux

// Command goroutines uses a library that starts goroutines: all of them are inside.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/gonso/gonso/gonso"
)

// fetch serves HTTP and asks the server. Both start goroutines, and StartsGoroutines says so: the
// function then runs in a process whose threads are all inside.
var fetch = gonso.Register("fetch", func(ctx context.Context, text string) (string, error) {
	hello := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	server := httptest.NewServer(http.HandlerFunc(hello))
	defer server.Close()
	request, err := http.NewRequestWithContext(ctx, "GET", server.URL, nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}, gonso.StartsGoroutines())

func main() {
	gonso.Init()
	s, err := gonso.Unshare(gonso.User|gonso.Net, gonso.LoopbackUp())
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	fmt.Println(fetch.Do(context.Background(), s, "hello from inside"))
}
