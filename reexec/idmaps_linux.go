package reexec

import (
	"context"

	"github.com/gonso/gonso/internal/procfs"
)

// maxIDMapFile is more than a map of 340 lines takes.
const maxIDMapFile = 64 << 10

// UserNS has the ids of a user namespace.
type UserNS struct {
	UIDMap, GIDMap  string // as in uid_map and gid_map of a member in /proc
	SetgroupsDenied bool
}

// LookAtUserNS reads the ids of the user namespace that joins lead to. Outside ids are ids of this
// process's user namespace. A launcher enters it, because only the files in /proc of a process
// inside have the ids.
func LookAtUserNS(ctx context.Context, joins []Join, protect bool) (u *UserNS, err error) {
	err = withShownMember(ctx, joins, protect, "joining the user namespace", func(d *procfs.Dir) (err error) {
		u, err = readUserNS(d.ReadFile)
		return err
	})
	return u, err
}

// LookAtOwnUserNS reads the ids of this process's own user namespace. Outside ids are ids of its
// parent.
func LookAtOwnUserNS() (*UserNS, error) {
	return readUserNS(func(name string, limit int64) (string, error) { return procfs.ReadFile("thread-self/"+name, limit) })
}

func readUserNS(read func(name string, limit int64) (string, error)) (*UserNS, error) {
	u, setgroups := &UserNS{}, ""
	for _, f := range []struct {
		name string
		to   *string
	}{{"uid_map", &u.UIDMap}, {"gid_map", &u.GIDMap}, {"setgroups", &setgroups}} {
		var err error
		if *f.to, err = read(f.name, maxIDMapFile); err != nil {
			return nil, err
		}
	}
	u.SetgroupsDenied = setgroups == "deny\n"
	return u, nil
}
