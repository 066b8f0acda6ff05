//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/gonso/gonso/gonso"
)

var queues = gonso.Register("example.queues", func(context.Context, struct{}) (int, error) {
	b, err := os.ReadFile("/proc/sysvipc/msg")
	return strings.Count(string(b), "\n") - 1, err // a line of titles
})

// A new ipc namespace has no message queues, semaphores and shared memory.
func ExampleUnshare_ipc() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User | gonso.IPC)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	fmt.Println(queues.Do(context.Background(), s, struct{}{}))
	// Output: 0 <nil>
}
