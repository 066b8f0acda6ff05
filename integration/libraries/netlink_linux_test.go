package libraries

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m, gonso.Init) }

// handleIn is a handle of package netlink that works inside the Set, from whatever goroutine. It
// keeps the sockets that were made inside, and so outlives the Set.
func handleIn(s *gonso.Set) (*netlink.Handle, error) {
	h, err := netlink.NewHandleAt(netns.NsHandle(s.Fd(gonso.Net)))
	runtime.KeepAlive(s)
	return h, err
}

func TestNetlinkHandleOfASet(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s, err := gonso.Unshare(gonso.Net)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	h, err := handleIn(s)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()

	link, err := h.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	const address = "10.9.8.7/24"
	if err := errors.Join(
		h.AddrAdd(link, &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 9, 8, 7), Mask: net.CIDRMask(24, 32)}}),
		h.LinkSetUp(link),
	); err != nil {
		t.Fatal(err)
	}
	i, err := s.InterfaceByName(t.Context(), "lo")
	if err != nil || !slices.ContainsFunc(i.Addrs, is(address)) || i.Flags&net.FlagUp == 0 {
		t.Errorf("inside: %+v, %v", i, err)
	}
	outside, err := net.InterfaceAddrs()
	if err != nil || slices.ContainsFunc(outside, func(a net.Addr) bool { return a.String() == address }) {
		t.Errorf("outside: %v, %v", outside, err)
	}
	// The descriptor is still the Set's.
	if err := s.Run(func() error { return nil }); err != nil {
		t.Error(err)
	}
}

func is(address string) func(netip.Prefix) bool {
	return func(p netip.Prefix) bool { return p.String() == address }
}

// With -1, package netlink works where the calling thread is, and says nothing: so Fd never gives that.
func TestNetlinkHandleOfAClosedSetIsNotTheHosts(t *testing.T) {
	testenv.Leaks(t)
	s, err := gonso.Current(gonso.Net)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if h, err := handleIn(s); err == nil {
		h.Close()
		t.Errorf("a handle for %d", s.Fd(gonso.Net))
	} else {
		t.Log(err)
	}
	h, err := netlink.NewHandleAt(netns.NsHandle(-1))
	if err != nil {
		t.Fatalf("-1 is refused by now: %v", err)
	}
	h.Close()
}
