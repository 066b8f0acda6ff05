// Joiner joins all namespaces of a container, by each of the ways to name them,
// and prints where it got.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// place is where a function ran.
type place struct {
	NS       map[string]string
	UID, GID int
	Host     string
}

var look = gonso.Register("look", func(context.Context, struct{}) (place, error) {
	p := place{NS: make(map[string]string), UID: os.Getuid(), GID: os.Getgid()}
	for _, typ := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} {
		if link, err := os.Readlink("/proc/self/ns/" + typ); err == nil {
			p.NS[typ] = link
		}
	}
	var err error
	p.Host, err = os.Hostname()
	return p, err
})

// answer is what joiner prints for each of the ways.
type answer struct {
	Way        string
	Set        string
	Place      place
	UIDs, GIDs []gonso.IDMap
	OwnerUID   uint32
	NetOwner   string // the user namespace that owns the net namespace
}

func main() {
	gonso.Init()
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(arg string) error {
	pid, err := strconv.Atoi(arg)
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	for _, way := range []struct {
		name string
		open func() (*gonso.Set, error)
	}{
		{"FromPID", func() (*gonso.Set, error) { return gonso.FromPID(pid) }},
		{"FromPIDFD", func() (*gonso.Set, error) { return gonso.FromPIDFD(pidfd) }},
		{"FromDir", func() (*gonso.Set, error) { return gonso.FromDir("/proc/" + arg + "/ns") }},
		{"pinned", func() (*gonso.Set, error) { return pinned(pid) }},
	} {
		a := answer{Way: way.name}
		if err := a.fill(way.open); err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		if err := json.NewEncoder(os.Stdout).Encode(a); err != nil {
			return err
		}
	}
	return nil
}

// pinned opens from files what was pinned. The mnt namespace too: the
// container's is younger than this program's.
func pinned(pid int) (*gonso.Set, error) {
	s, err := gonso.FromPID(pid)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	dir, err := os.MkdirTemp("", "gonso-joiner-")
	if err != nil {
		return nil, err
	}
	defer os.Remove(dir)
	if err := s.Pin(dir + "/ns"); err != nil {
		return nil, err
	}
	p, err := gonso.FromDir(dir + "/ns")
	if uerr := gonso.Unpin(dir + "/ns"); err == nil && uerr != nil {
		p.Close()
		return nil, uerr
	}
	return p, err
}

func (a *answer) fill(open func() (*gonso.Set, error)) error {
	s, err := open()
	if err != nil {
		return err
	}
	defer s.Close()
	a.Set = s.String()
	if a.Place, err = look.Do(context.Background(), s, struct{}{}); err != nil {
		return err
	}
	if a.UIDs, a.GIDs, err = s.IDMaps(); err != nil {
		return err
	}
	if a.OwnerUID, err = s.OwnerUID(); err != nil {
		return err
	}
	owner, err := s.Owner(gonso.Net)
	if err != nil {
		return err
	}
	defer owner.Close()
	a.NetOwner = owner.String()
	return nil
}
