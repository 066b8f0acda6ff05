// Visitor enters the namespaces of a process and runs something there, in one of
// the ways that there are, and prints what came of it.
//
//	visitor PID TYPES WAY [FILE [ARGUMENT...]]
//
// It has a secret in its environment. With VISITOR_LOADER it takes whatever loader there is
// inside. Built with cgo it is dynamically linked, as it uses package net.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	_ "net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// Visit is what visitor prints.
type Visit struct {
	Says string // what was run, if it is what it was to be
	Err  string
}

var greet = gonso.Register("greet", func(context.Context, struct{}) (string, error) {
	return "visitor " + strconv.Itoa(os.Getuid()), nil
})

func main() {
	gonso.Init()
	if len(os.Args) > 1 && os.Args[1] == "inside" {
		fmt.Print("visitor ", os.Getuid())
		return
	}
	says, err := visit(os.Args[1], os.Args[2], os.Args[3], os.Args[4:])
	v := Visit{Says: says}
	if err != nil {
		v.Err = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(v); err != nil {
		panic(err)
	}
}

func visit(pid, types, way string, rest []string) (string, error) {
	p, err := strconv.Atoi(pid)
	if err != nil {
		return "", err
	}
	t, err := strconv.Atoi(types)
	if err != nil {
		return "", err
	}
	s, err := gonso.FromPID(p, gonso.Type(t))
	if err != nil {
		return "", err
	}
	defer s.Close()
	_, loader := os.LookupEnv("VISITOR_LOADER")
	w := gonso.Worker{DynamicLoader: loader}
	ctx := context.Background()
	var c *gonso.Cmd
	opts := []gonso.DoOption{gonso.InProcess()}
	switch way {
	case "worker":
	case "keeping ids":
		w.KeepIDs = true
	case "isolated":
		opts = []gonso.DoOption{gonso.Isolated()}
	case "helper":
		w.Path = rest[0]
	case "self", "self, keeping ids":
		c = s.Self(ctx, "inside")
	case "command":
		c = s.Command(ctx, rest[0], rest[1:]...)
	case "exe", "exe, by path only", "exe, writable", "exe, in a chroot":
		flag := map[string]int{"exe, by path only": unix.O_PATH, "exe, writable": os.O_RDWR}[way]
		f, err := os.OpenFile(rest[0], flag, 0)
		if err != nil {
			return "", err
		}
		defer f.Close()
		c = s.Command(ctx, "visitor", append([]string{"inside"}, rest[1:]...)...)
		if len(rest) > 1 {
			c.Args = rest[1:]
		}
		c.Exe = f
		if way == "exe, in a chroot" {
			c.Chroot = fmt.Sprintf("/proc/%d/root", p)
		}
	default:
		return "", fmt.Errorf("no way %q", way)
	}
	if c != nil {
		c.KeepIDs = way == "self, keeping ids"
		c.DynamicLoader = loader
		out, err := c.CombinedOutput()
		return string(out), err
	}
	if err := s.SetWorker(w); err != nil {
		return "", err
	}
	return greet.Do(ctx, s, struct{}{}, opts...)
}
