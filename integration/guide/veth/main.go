//go:build linux

// Command veth joins two network namespaces by a pair of virtual Ethernet devices.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"os"

	"github.com/vishvananda/netlink"

	"github.com/gonso/gonso/gonso"
)

// connect makes a pair of devices: "eth" in this namespace, and "eth" in the other one.
var connect = gonso.Register("connect", func(_ context.Context, other *os.File) (struct{}, error) {
	return struct{}{}, netlink.LinkAdd(&netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: "eth"},
		PeerName:      "eth",
		PeerNamespace: netlink.NsFd(other.Fd()),
	})
})

// setUp gives "eth" of this namespace an address, and sets it up.
var setUp = gonso.Register("setUp", func(_ context.Context, address string) (struct{}, error) {
	eth, err := netlink.LinkByName("eth")
	if err != nil {
		return struct{}{}, err
	}
	a, err := netlink.ParseAddr(address)
	if err != nil {
		return struct{}{}, err
	}
	return struct{}{}, errors.Join(netlink.AddrAdd(eth, a), netlink.LinkSetUp(eth))
})

func must[T any](value T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func main() {
	gonso.Init()
	ctx := context.Background()
	owner := must(gonso.Unshare(gonso.User)) // its root may configure both networks
	left, right := must(owner.Unshare(gonso.Net)), must(owner.Unshare(gonso.Net))
	must(connect.Do(ctx, left, must(right.File(gonso.Net))))
	must(setUp.Do(ctx, left, "10.0.0.1/24"))
	must(setUp.Do(ctx, right, "10.0.0.2/24"))

	listener := must(right.Listen(ctx, "tcp", "10.0.0.2:80"))
	must(left.DialContext(ctx, "tcp", "10.0.0.2:80"))
	conn := must(listener.Accept())
	fmt.Println("right is called by", conn.RemoteAddr().(*net.TCPAddr).IP)
}
