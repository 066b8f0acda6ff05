package reexec

import (
	"context"
	"os"

	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/procfs"
)

// maxIDMapFile is more than a map of 340 lines takes.
const maxIDMapFile = 64 << 10

// IDMaps reads the id maps of the user namespace that joins lead to, as this
// process's user namespace sees them. A launcher goes there, because only the
// files of a member in /proc have them.
func IDMaps(ctx context.Context, joins []Join, protect bool) (uid, gid string, err error) {
	if handshake.Pending() {
		return "", "", errSecondGeneration
	}
	l := composeMember(joins, protect, os.Geteuid() != 0)
	p, err := l.start(&launcher.Cmd{Args: []string{"gonso-member"}, Files: files(joins)})
	if err != nil {
		return "", "", err
	}
	defer p.Reap(exitTimeout)
	defer p.Close()
	if err := p.Next(ctx); err != nil {
		p.Kill()
		return "", "", l.ended("joining the user namespace", err)
	}
	defer p.Kill() // it waits, and has nothing left to do
	d, err := procfs.Process(p.Pid)
	if err != nil {
		return "", "", err
	}
	defer d.Close()
	return readIDMaps(d.ReadFile)
}

// OwnIDMaps reads the id maps of this process's own user namespace.
func OwnIDMaps() (uid, gid string, err error) {
	return readIDMaps(func(name string, limit int64) (string, error) { return procfs.ReadFile("thread-self/"+name, limit) })
}

func readIDMaps(read func(name string, limit int64) (string, error)) (uid, gid string, err error) {
	if uid, err = read("uid_map", maxIDMapFile); err == nil {
		gid, err = read("gid_map", maxIDMapFile)
	}
	return uid, gid, err
}
