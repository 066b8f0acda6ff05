// Peers has other ways to call a function in another process, for package single to measure. It is a
// program beside bench as its packages take their time at every start.
package main

import (
	"fmt"
	"os"

	"github.com/gonso/gonso/integration/bench/single"
)

// roles are what this program does if its first argument says so: the other end of a contestant.
var roles = map[string]func() error{
	"gob":           serveGob,
	"net/rpc":       serveRPC,
	"ttrpc":         serveTTRPC,
	"plugin/netrpc": servePluginRPC,
	"plugin/grpc":   servePluginGRPC,
}

var contestants = []single.Contestant{
	{Name: "gob by hand", Open: openGob},
	{Name: "net/rpc", Open: openRPC},
	{Name: "containerd/ttrpc", Open: openTTRPC},
	{Name: "hashicorp/go-plugin, net/rpc", Open: openPluginRPC},
	{Name: "hashicorp/go-plugin, gRPC", Open: openPluginGRPC},
}

func main() {
	becomeOther()
	if err := single.Serve(os.Stdin, os.Stdout, contestants); err != nil {
		fail(err)
	}
}

// becomeOther does not return in a process that is the other end.
func becomeOther() {
	if len(os.Args) < 2 || roles[os.Args[1]] == nil {
		return
	}
	if err := roles[os.Args[1]](); err != nil {
		fail(err)
	}
	os.Exit(0)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "peers:", err)
	os.Exit(1)
}
