//go:build linux

package gonso_test

import (
	"context"
	"fmt"
	"os"

	"github.com/gonso/gonso/gonso"
)

var workerID = gonso.Register("example.workerID", func(context.Context, struct{}) (int, error) { return os.Getpid(), nil })

// The worker is this program, started again: Init is where it becomes the worker, so main does not
// run there. A program that calls Init later in main would do twice all that comes before.
func ExampleInit() {
	gonso.Init()

	s, err := gonso.Unshare(gonso.User)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	worker, err := workerID.Do(context.Background(), s, struct{}{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("another process:", worker != os.Getpid())
	// Output: another process: true
}
