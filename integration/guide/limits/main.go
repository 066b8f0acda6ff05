//go:build linux

// Command limits bounds what work inside may use: files, time, the size of results.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// repeated returns a text of n letters, or waits until it is told to end if n is 0.
var repeated = gonso.Register("repeated", func(ctx context.Context, n int) (string, error) {
	if n == 0 {
		<-ctx.Done()
		return "", ctx.Err()
	}
	return strings.Repeat("x", n), nil
})

func main() {
	gonso.Init()
	ctx := context.Background()
	s, err := gonso.Unshare(gonso.User | gonso.UTS)
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()

	// A program: limits of its own. Cgroup of Cmd puts it in a cgroup with a limit of memory.
	c := s.Command(ctx, "sh", "-c", "ulimit -n")
	c.Rlimits = []gonso.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: 64, Hard: 64}}
	out, err := c.Output()
	fmt.Print("open files: ", string(out))
	if err != nil {
		log.Fatal(err)
	}

	// Functions: limits of their worker process, before the first call.
	err = s.SetWorker(gonso.Worker{
		Rlimits:   []gonso.Rlimit{{Resource: unix.RLIMIT_NPROC, Soft: 512, Hard: 512}},
		MaxResult: 1 << 20,         // bytes of this program's memory
		Grace:     time.Second / 2, // from the end of a call's context to the end of the worker
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = repeated.Do(ctx, s, 2<<20)
	fmt.Println("large result refused:", err != nil)

	// A call: a limit of time.
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	_, err = repeated.Do(short, s, 0)
	fmt.Println("in time:", !errors.Is(err, context.DeadlineExceeded))
}
