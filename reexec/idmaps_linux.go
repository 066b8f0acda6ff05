package reexec

import (
	"context"

	"github.com/gonso/gonso/internal/procfs"
)

// maxIDMapFile is more than a map of 340 lines takes.
const maxIDMapFile = 64 << 10

// IDMaps reads the id maps of the user namespace that joins lead to, as this
// process's user namespace sees them. A launcher goes there, because only the
// files of a member in /proc have them.
func IDMaps(ctx context.Context, joins []Join, protect bool) (uid, gid string, err error) {
	err = withMember(ctx, joins, protect, "joining the user namespace", func(d *procfs.Dir) (err error) {
		uid, gid, err = readIDMaps(d.ReadFile)
		return err
	})
	return uid, gid, err
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
