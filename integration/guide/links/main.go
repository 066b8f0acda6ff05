//go:build linux

// Command links configures a network with package netlink, inside.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/vishvananda/netlink"

	"github.com/gonso/gonso/gonso"
)

// addBridge makes a bridge with an address, and returns its routes. Functions of package netlink
// work on the namespace of the calling thread: no handle is needed here.
var addBridge = gonso.Register("bridge", func(_ context.Context, address string) ([]string, error) {
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
	if err := netlink.LinkAdd(bridge); err != nil {
		return nil, err
	}
	a, err := netlink.ParseAddr(address)
	if err != nil {
		return nil, err
	}
	if err := netlink.AddrAdd(bridge, a); err != nil {
		return nil, err
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return nil, err
	}
	list, err := netlink.RouteList(bridge, netlink.FAMILY_V4)
	var routes []string
	for _, r := range list {
		routes = append(routes, fmt.Sprintf("%v from %v", r.Dst, r.Src))
	}
	return routes, err
})

func main() {
	gonso.Init()
	ctx := context.Background()
	s, err := gonso.Unshare(gonso.User | gonso.Net)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	routes, err := addBridge.Do(ctx, s, "10.1.0.1/24")
	fmt.Println("routes:", routes, err)
	bridge, err := s.InterfaceByName(ctx, "br0")
	fmt.Println("seen from outside:", bridge.Name, bridge.Addrs[0], err)
}
