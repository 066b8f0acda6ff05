package gonsotest

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// What is left of a veth pair goes with the net namespace of the other end, but later than Close
// returns.
func TestEventuallyWaitsForDevicesToGo(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.IPRoute2)
	testenv.Leaks(t)
	here, there := New(t, gonso.Net), New(t, gonso.Net)
	f, err := there.File(gonso.Net)
	if err != nil {
		t.Fatal(err)
	}
	ip := func(args ...string) {
		t.Helper()
		c := here.Command(t.Context(), "ip", args...)
		c.ExtraFiles = []*os.File{f}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
	ip("link", "add", "gonso0", "type", "veth", "peer", "name", "gonso1")
	ip("link", "set", "gonso1", "netns", "/proc/self/fd/3")
	f.Close()
	there.Close()
	Eventually(t, "gonso0 goes", func() bool {
		gone := false
		Do(t, here, func() {
			interfaces, err := net.Interfaces()
			if err != nil {
				t.Fatal(err)
			}
			gone = len(interfaces) == 1
		})
		return gone
	})
}

func TestEventuallyCannotWaitForever(t *testing.T) {
	limit := eventually
	defer func() { eventually = limit }()
	eventually = time.Millisecond
	calls := 0
	r, returned, _ := listen(func(r *recorder) {
		Eventually(r, "a wonder", func() bool { calls++; return false })
	})
	if returned || !r.failed || !strings.Contains(r.said, "a wonder") || calls < 2 {
		t.Errorf("%+v after %d calls", r, calls)
	}
	r, returned, _ = listen(func(r *recorder) { Eventually(r, "nothing", func() bool { return true }) })
	if !returned || r.failed {
		t.Errorf("%+v", r)
	}
}
