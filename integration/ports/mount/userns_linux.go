// Package mount is what core/mount of containerd has of user namespaces, on gonso: ones that
// idmapped mounts are made with, held by a descriptor alone.
package mount

import (
	"os"
	"syscall"

	"github.com/gonso/gonso/gonso"
)

// getUsernsFD makes a user namespace with these id maps. It lasts as long as the file, or a mount
// made with it, and no process is in it.
func getUsernsFD(uidMaps, gidMaps []syscall.SysProcIDMap) (*os.File, error) {
	uids, err := gonso.SysIDMaps(uidMaps)
	if err != nil {
		return nil, err
	}
	gids, err := gonso.SysIDMaps(gidMaps)
	if err != nil {
		return nil, err
	}
	s, err := gonso.Unshare(gonso.User, gonso.IDMaps(uids, gids), gonso.Setgroups(false))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return s.File(gonso.User)
}
