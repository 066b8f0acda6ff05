//go:build linux

package gonsotest_test

import (
	"net"
	"testing"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/gonso/gonsotest"
)

// A test in a net namespace of its own. It is skipped for a user who may not make one,
// unless GONSO_TEST_REQUIRE promises root.
func TestOwnNetworkHasNothingButLoopback(t *testing.T) {
	s := gonsotest.New(t, gonso.Net)
	interfaces, err := s.Interfaces(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			t.Errorf("there is %s", i.Name)
		}
	}
}

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
