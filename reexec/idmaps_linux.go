package reexec

import (
	"context"
	"io"
	"os"
	"strconv"

	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/launcher"
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
	return ReadIDMaps(strconv.Itoa(p.Pid))
}

// ReadIDMaps reads the id maps of a task, which is a directory of /proc.
func ReadIDMaps(task string) (uid, gid string, err error) {
	if uid, err = readIDMap(task, "uid_map"); err == nil {
		gid, err = readIDMap(task, "gid_map")
	}
	return uid, gid, err
}

// readIDMap is os.ReadFile with a bound, for a /proc that may be somebody else's.
func readIDMap(task, name string) (string, error) {
	f, err := os.Open("/proc/" + task + "/" + name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxIDMapFile))
	return string(b), err
}
