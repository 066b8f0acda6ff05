// Package unshare is pkg/unshare of containers/storage on gonso: a plain user's program runs itself
// again in a user namespace, in which the user is root and has the user's subordinate ids.
package unshare

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// The environment of a program that was run again.
const (
	UsernsEnvName = "_CONTAINERS_USERNS_CONFIGURED"
	uidEnv        = "_CONTAINERS_ROOTLESS_UID"
	gidEnv        = "_CONTAINERS_ROOTLESS_GID"
)

func idOr(id int, env ...string) int {
	for _, e := range env {
		if text := os.Getenv(e); text != "" {
			id, _ = strconv.Atoi(text)
			return id
		}
	}
	return id
}

// GetRootlessUID is the uid of the user, outside.
func GetRootlessUID() int { return idOr(os.Getuid(), uidEnv) }

// GetRootlessGID is the gid of the user, outside.
func GetRootlessGID() int { return idOr(os.Getgid(), gidEnv) }

// RootlessEnv is the environment for programs that are rootless already.
func RootlessEnv() []string { return append(os.Environ(), UsernsEnvName+"=done") }

// HasCapSysAdmin reports whether the process has CAP_SYS_ADMIN in its user namespace.
var HasCapSysAdmin = sync.OnceValues(func() (bool, error) {
	var data [2]unix.CapUserData
	err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &data[0])
	return data[0].Effective&(1<<unix.CAP_SYS_ADMIN) != 0, os.NewSyscallError("capget", err)
})

// idMapsOf are the id maps of the process with the id pid, or of this one if that is empty or
// "self".
func idMapsOf(pid string) (uids, gids []gonso.IDMap, err error) {
	s, err := gonso.Current(gonso.User)
	if pid != "" && pid != "self" {
		s.Close()
		id, invalid := strconv.Atoi(pid)
		if invalid != nil {
			return nil, nil, invalid
		}
		s, err = gonso.FromPID(id, gonso.User)
	}
	if err != nil {
		return nil, nil, err
	}
	defer s.Close()
	return s.IDMaps()
}

// IsRootless reports whether the user is none of the host's root.
var IsRootless = sync.OnceValue(func() bool {
	if idOr(os.Geteuid(), uidEnv) != 0 || os.Getenv(UsernsEnvName) != "" {
		return true
	}
	if admin, err := HasCapSysAdmin(); err != nil || !admin {
		return err == nil
	}
	uids, _, err := idMapsOf("self")
	all := func(m gonso.IDMap) bool { return m.Size == 1<<32-1 }
	return err == nil && !slices.ContainsFunc(uids, all)
})

// rootlessEnv are the variables that say who the user is outside.
func rootlessEnv() []string {
	if !IsRootless() {
		return nil
	}
	return []string{
		UsernsEnvName + "=done",
		fmt.Sprintf("%s=%d", uidEnv, idOr(os.Geteuid(), uidEnv)),
		fmt.Sprintf("%s=%d", gidEnv, idOr(os.Getegid(), gidEnv, uidEnv)),
	}
}

// MaybeReexecUsingUserNamespace runs the program again, in its own place, in new user and mnt
// namespaces. It returns only where that is not needed: to root, unless evenForRoot is true, and in
// the program that was run again.
func MaybeReexecUsingUserNamespace(evenForRoot bool) {
	if os.Geteuid() == 0 && (GetRootlessUID() > 0 || os.Getenv(UsernsEnvName) != "") {
		return // it was run again
	}
	s, err := userNamespace(evenForRoot)
	if err != nil {
		slog.Error("the user's namespaces", "error", err)
		os.Exit(1)
	}
	if s == nil {
		return
	}
	c := s.Self(context.Background())
	c.Args = append([]string{os.Args[0] + "-in-a-user-namespace"}, os.Args[1:]...)
	c.Env = append([]string{"BUILDAH_ISOLATION=rootless"}, os.Environ()...) // of two, the user's counts
	c.Env = append(append(c.Env, UsernsEnvName+"=1"), rootlessEnv()...)
	c.RunAndExit()
}

// userNamespace makes what the program is to run in, or nothing if it can do all of its work where
// it is.
func userNamespace(evenForRoot bool) (*gonso.Set, error) {
	const types = gonso.User | gonso.Mount
	if os.Geteuid() != 0 || evenForRoot {
		s, err := gonso.Unshare(types, gonso.SubIDs())
		if err != nil {
			slog.Warn("Falling back to single mapping", "error", err)
			s, err = gonso.Unshare(types)
		}
		return s, err
	}
	if admin, err := HasCapSysAdmin(); err != nil || admin {
		return nil, err
	}
	uids, gids, err := sameIDs()
	if err != nil {
		return nil, err
	}
	return gonso.Unshare(types, gonso.IDMaps(uids, gids))
}

// sameIDs are id maps with which every id stays what it is.
func sameIDs() (uids, gids []gonso.IDMap, err error) {
	uids, gids, err = idMapsOf("self")
	for _, maps := range [][]gonso.IDMap{uids, gids} {
		for i := range maps {
			maps[i].HostID = maps[i].ContainerID
		}
	}
	return uids, gids, err
}
