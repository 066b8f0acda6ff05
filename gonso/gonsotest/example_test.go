//go:build linux

package gonsotest_test

import (
	"net"
	"testing"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/gonso/gonsotest"
)

// In a test t is its argument.
var t *testing.T

func Example() {
	s := gonsotest.New(t, gonso.Net) // skips the test where this is not permitted, and closes s with it
	gonsotest.Do(t, s, func() {
		l, err := net.Listen("tcp", ":80") // nobody else's port 80
		if err != nil {
			t.Fatal(err) // ends the test
		}
		l.Close()
	})
}
