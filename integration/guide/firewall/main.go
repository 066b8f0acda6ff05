//go:build linux

// Command firewall makes rules with package nftables, inside.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// forbid makes a table that drops all that is sent. It returns the names of all tables.
var forbid = gonso.Register("forbid", func(_ context.Context, name string) ([]string, error) {
	drop := nftables.ChainPolicyDrop
	var c nftables.Conn // of the namespace that this runs in
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: name})
	c.AddChain(&nftables.Chain{
		Name:     "out",
		Table:    table,
		Type:     nftables.ChainTypeFilter,
		Hooknum:  nftables.ChainHookOutput,
		Priority: nftables.ChainPriorityFilter,
		Policy:   &drop,
	})
	if err := c.Flush(); err != nil {
		return nil, err
	}
	tables, err := c.ListTables()
	var names []string
	for _, t := range tables {
		names = append(names, t.Name)
	}
	return names, err
}, gonso.StartsGoroutines())

func main() {
	gonso.Init()
	ctx := context.Background()
	s, err := gonso.Unshare(gonso.User|gonso.Net, gonso.LoopbackUp())
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	tables, err := forbid.Do(ctx, s, "guide")
	fmt.Println("tables:", tables, err)
	conn, err := s.DialContext(ctx, "udp", "127.0.0.1:9")
	if err != nil {
		log.Fatal(err)
	}
	_, err = conn.Write([]byte("hello"))
	fmt.Println("sending is refused:", errors.Is(err, unix.EPERM))
}
