//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// A web server that listens inside for as long as the program wants. Its connections are inside, in
// whatever goroutine they are served. It needs CAP_SYS_ADMIN.
func ExampleSet_Go() {
	s, err := gonso.Unshare(gonso.Net, gonso.LoopbackUp())
	if err != nil {
		cannot("root", err, "hello\nhttp: Server closed")
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

// A library that wants a number gets the Set's own, for as long as the Set is open. With package
// netlink it is netlink.NewHandleAt(netns.NsHandle(s.Fd(gonso.Net))).
func ExampleSet_Fd() {
	s, err := gonso.Current(gonso.Net)
	if err != nil {
		fmt.Println(err)
		return
	}

	var st unix.Stat_t
	if err := unix.Fstat(s.Fd(gonso.Net), &st); err != nil {
		fmt.Println(err)
		return
	}
	id, err := s.ID(gonso.Net)
	fmt.Println("this namespace:", st.Ino == id.Ino, err)
	runtime.KeepAlive(s) // without a Close after its last use, the garbage collector could close it before

	s.Close()
	fmt.Println("closed:", s.Fd(gonso.Net) >= 0)
	// Output:
	// this namespace: true <nil>
	// closed: false
}
