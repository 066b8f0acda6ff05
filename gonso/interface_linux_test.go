package gonso

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// listed is what package net says of interfaces, in the worker.
var listed = Register("test.net.interfaces", func(context.Context, struct{}) (ifs []Interface, err error) {
	all, err := net.Interfaces()
	for _, i := range all {
		addrs, aerr := i.Addrs()
		err = errors.Join(err, aerr)
		in := Interface{Interface: i}
		for _, a := range addrs {
			in.Addrs = append(in.Addrs, netip.MustParsePrefix(a.String()))
		}
		ifs = append(ifs, in)
	}
	return ifs, err
}, StartsGoroutines())

func TestInterfacesAreThoseInside(t *testing.T) {
	inZoneSets(t, func(t *testing.T, s *Set) {
		ip(t, s, "addr", "add", "198.51.100.2/24", "dev", zoneInside)
		ip(t, s, "addr", "add", "192.0.2.1", "peer", "192.0.2.2/32", "dev", "gonsopeer")
		want, err := listed.Do(t.Context(), s, struct{}{}, InProcess())
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(want, func(a, b Interface) int { return a.Index - b.Index })
		got, err := s.Interfaces(t.Context())
		if err != nil || len(want) < 3 || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v,\nwant %+v", got, err, want)
		}
		i, err := s.InterfaceByName(t.Context(), zoneInside)
		if err != nil || i.Name != zoneInside || !slices.Contains(i.Addrs, netip.MustParsePrefix("fe80::1/64")) {
			t.Errorf("%+v, %v", i, err)
		}
		for _, name := range []string{"", "nothere"} {
			_, err = s.InterfaceByName(t.Context(), name)
			wantError(t, name, err, unix.ENODEV, "gonso: find interface in net", name)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = s.Interfaces(ctx)
		wantError(t, "nobody waits", err, context.Canceled)
		_, err = s.Interfaces(nil) //nolint:staticcheck // it is what is tested
		wantError(t, "no context", err, os.ErrInvalid, "context")
		s.Close()
		_, err = s.Interfaces(t.Context())
		wantError(t, "closed", err, ErrClosed)
	})
	// At home they are those of here, more of them than one message of the kernel has.
	got, err := new(Set).Interfaces(t.Context())
	want, werr := net.Interfaces()
	if err != nil || werr != nil || len(got) != len(want) {
		t.Errorf("%+v, %v; want %+v, %v", got, err, want, werr)
	}
}

// A list of interfaces takes several messages.
func TestInterfacesCannotBeMissing(t *testing.T) {
	inNetSets(t, func(t *testing.T, s *Set) {
		testenv.Need(t, testenv.IPRoute2)
		const pairs = 40
		for n := range pairs {
			ip(t, s, "link", "add", fmt.Sprintf("a%d", n), "type", "veth", "peer", "name", fmt.Sprintf("b%d", n))
		}
		ifs, err := s.Interfaces(t.Context())
		if err != nil || len(ifs) < 1+2*pairs {
			t.Errorf("%d interfaces, %v", len(ifs), err)
		}
	})
}

// golang/go#28535: for up to a minute a name would mean the index that it has inside.
func TestInterfacesInsideCannotFillTheHostsZoneCache(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.IPRoute2)
	testenv.Leaks(t)
	s := unshare(t, User|Mount)
	for _, way := range []string{"Set.Interfaces", "Set.InterfaceByName", "Set.DialContext", "net.Interfaces"} {
		known, err := zoneCache.Do(t.Context(), s, way, Isolated()) // whose cache is empty
		if err != nil {
			t.Errorf("%s: %v", way, err)
		}
		if want := way == "net.Interfaces"; known != want { // as is documented
			t.Errorf("%s: an interface inside is a zone outside: %v, want %v", way, known, want)
		}
	}
}

var zoneCache = Register("test.net.zonecache", func(ctx context.Context, way string) (known bool, err error) {
	s, err := Unshare(Net, LoopbackUp())
	if err != nil {
		return false, err
	}
	defer s.Close()
	path, err := testenv.LookPath("ip")
	if err != nil {
		return false, err
	}
	for _, args := range zoneLinks("77") {
		if err := s.Run(exec.CommandContext(ctx, path, args...).Run); err != nil {
			return false, err
		}
	}
	switch way {
	case "Set.Interfaces":
		_, err = s.Interfaces(ctx)
	case "Set.InterfaceByName":
		_, err = s.InterfaceByName(ctx, zoneInside)
	case "Set.DialContext":
		var conn net.Conn
		if conn, err = s.DialContext(ctx, "udp", "[fe80::1%"+zoneInside+"]:9"); err == nil {
			conn.Close()
		}
	case "net.Interfaces":
		err = s.Run(func() error {
			_, err := net.Interfaces()
			return err
		})
	}
	if err != nil {
		return false, err
	}
	conn, err := net.Dial("udp", "[fe80::1%"+zoneInside+"]:9")
	if err == nil {
		conn.Close()
	}
	return !errors.Is(err, unix.EINVAL), nil // what an address without a zone gets
}, StartsGoroutines())
