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

// UserNS is what a user namespace has for ids.
type UserNS struct {
	UIDMap, GIDMap  string // as in uid_map and gid_map of a member in /proc
	SetgroupsDenied bool
}

// LookAtUserNS looks at the user namespace that joins lead to; outside ids are those that this
// process's user namespace has. A launcher goes there, because only the files of a member in /proc have
// them.
func LookAtUserNS(ctx context.Context, joins []Join, protect bool) (*UserNS, error) {
	l := composeMember(joins, protect, os.Geteuid() != 0)
	var u *UserNS
	err := l.visit(ctx, &launcher.Cmd{Args: []string{"gonso-member"}, Files: files(joins)}, func(pid int) error {
		d, err := procfs.Process(pid)
		if err != nil {
			return err
		}
		defer d.Close()
		u, err = readUserNS(d.ReadFile)
		return err
	})
	return u, err
}

// LookAtOwnUserNS looks at this process's own user namespace; outside ids are those of its parent.
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

// visit starts a launcher whose list ends with Sync and Wait, calls look when it has got there, and
// ends it.
func (l *launch) visit(ctx context.Context, cmd *launcher.Cmd, look func(pid int) error) error {
	if handshake.Pending() {
		return errSecondGeneration
	}
	p, err := l.start(cmd)
	if err != nil {
		return err
	}
	defer p.Reap(exitTimeout)
	defer p.Close()
	defer p.Kill() // it waits, and has nothing left to do
	if err := p.Next(ctx); err != nil {
		return l.ended("joining the user namespace", err)
	}
	return look(p.Pid)
}
