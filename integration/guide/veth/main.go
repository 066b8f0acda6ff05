//go:build linux

// Command veth joins two network namespaces by a pair of virtual Ethernet devices.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	gonso.Init()
	ctx := context.Background()

	owner, err := gonso.Unshare(gonso.User) // its root may configure both networks
	check(err)
	left, err := owner.Unshare(gonso.Net)
	check(err)
	right, err := owner.Unshare(gonso.Net)
	check(err)

	file, err := right.File(gonso.Net)
	check(err)
	_, err = connect.Do(ctx, left, file)
	check(err)
	_, err = setUp.Do(ctx, left, "10.0.0.1/24")
	check(err)
	_, err = setUp.Do(ctx, right, "10.0.0.2/24")
	check(err)

	listener, err := right.Listen(ctx, "tcp", "10.0.0.2:80")
	check(err)
	go func() {
		conn, err := listener.Accept()
		check(err)
		fmt.Fprintln(conn, "hello", conn.RemoteAddr().(*net.TCPAddr).IP)
		conn.Close()
	}()
	conn, err := left.DialContext(ctx, "tcp", "10.0.0.2:80")
	check(err)
	text, err := io.ReadAll(conn)
	check(err)
	fmt.Print("right says: ", string(text))
}
