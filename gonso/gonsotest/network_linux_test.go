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
