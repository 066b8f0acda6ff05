//go:build linux

package gonso_test

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// What a container's configuration says of its process goes to the fields of the Cmd.
func ExampleCmd() {
	s, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	c := s.Command(context.Background(), "sh", "-c",
		`echo "umask $(umask), files $(ulimit -n), bounding $(sed -n 's/CapBnd:\t//p' /proc/self/status)"`)
	c.Umask = new(0o027)
	c.OOMScoreAdj = new(500)
	c.NoNewPrivs = true
	c.Rlimits = []gonso.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 256, Hard: 512}}
	caps := []uintptr{unix.CAP_CHOWN, unix.CAP_NET_BIND_SERVICE}
	c.Capabilities = &gonso.Capabilities{Bounding: caps, Permitted: caps, Effective: caps}
	out, err := c.Output()
	fmt.Print(string(out))
	if err != nil {
		fmt.Println(err)
	}
	// Output: umask 0027, files 256, bounding 0000000000000401
}
