//go:build linux

package launcher

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// name is the name of a constant in a printed list.
type name struct {
	value int
	name  string
}

var (
	cloneFlags = []name{
		{unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"}, {unix.CLONE_NEWIPC, "CLONE_NEWIPC"}, {unix.CLONE_NEWNS, "CLONE_NEWNS"},
		{unix.CLONE_NEWNET, "CLONE_NEWNET"}, {unix.CLONE_NEWPID, "CLONE_NEWPID"}, {unix.CLONE_NEWTIME, "CLONE_NEWTIME"},
		{unix.CLONE_NEWUSER, "CLONE_NEWUSER"}, {unix.CLONE_NEWUTS, "CLONE_NEWUTS"},
		{unix.CLONE_FS, "CLONE_FS"}, {unix.CLONE_FILES, "CLONE_FILES"}, {unix.CLONE_PARENT, "CLONE_PARENT"},
		{int(unix.SIGCHLD), "SIGCHLD"},
	}
	openFlags = []name{
		{unix.O_WRONLY, "O_WRONLY"}, {unix.O_RDWR, "O_RDWR"}, {unix.O_CREAT, "O_CREAT"}, {unix.O_EXCL, "O_EXCL"},
		{unix.O_NOCTTY, "O_NOCTTY"}, {unix.O_TRUNC, "O_TRUNC"}, {unix.O_APPEND, "O_APPEND"}, {unix.O_NONBLOCK, "O_NONBLOCK"},
		{unix.O_DIRECTORY, "O_DIRECTORY"}, {unix.O_NOFOLLOW, "O_NOFOLLOW"}, {unix.O_CLOEXEC, "O_CLOEXEC"}, {unix.O_PATH, "O_PATH"},
	}
	mountFlags = []name{
		{unix.MS_RDONLY, "MS_RDONLY"}, {unix.MS_NOSUID, "MS_NOSUID"}, {unix.MS_NODEV, "MS_NODEV"}, {unix.MS_NOEXEC, "MS_NOEXEC"},
		{unix.MS_REMOUNT, "MS_REMOUNT"}, {unix.MS_BIND, "MS_BIND"}, {unix.MS_MOVE, "MS_MOVE"}, {unix.MS_REC, "MS_REC"},
		{unix.MS_UNBINDABLE, "MS_UNBINDABLE"}, {unix.MS_PRIVATE, "MS_PRIVATE"}, {unix.MS_SLAVE, "MS_SLAVE"}, {unix.MS_SHARED, "MS_SHARED"},
	}
	umountFlags     = []name{{unix.MNT_DETACH, "MNT_DETACH"}}
	closeRangeFlags = []name{{unix.CLOSE_RANGE_UNSHARE, "CLOSE_RANGE_UNSHARE"}, {unix.CLOSE_RANGE_CLOEXEC, "CLOSE_RANGE_CLOEXEC"}}

	prctls = []name{
		{unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"}, {unix.PR_SET_KEEPCAPS, "PR_SET_KEEPCAPS"}, {unix.PR_SET_PDEATHSIG, "PR_SET_PDEATHSIG"},
		{unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS"}, {unix.PR_SET_SECUREBITS, "PR_SET_SECUREBITS"},
		{unix.PR_SET_CHILD_SUBREAPER, "PR_SET_CHILD_SUBREAPER"}, {unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP"},
		{unix.PR_CAP_AMBIENT, "PR_CAP_AMBIENT"}, {unix.PR_GET_PDEATHSIG, "PR_GET_PDEATHSIG"},
	}
	ambientOps = []name{
		{unix.PR_CAP_AMBIENT_RAISE, "PR_CAP_AMBIENT_RAISE"}, {unix.PR_CAP_AMBIENT_LOWER, "PR_CAP_AMBIENT_LOWER"},
		{unix.PR_CAP_AMBIENT_CLEAR_ALL, "PR_CAP_AMBIENT_CLEAR_ALL"},
	}
)

// named is a constant out of names.
func named(v int, names []name) arg { return arg{value: uintptr(v), names: names, one: true} }

func nameOf(v int, names []name) string {
	for _, n := range names {
		if n.value == v {
			return n.name
		}
	}
	return strconv.Itoa(v)
}

// flags is a set of constants out of names.
func flags(v int, names []name) arg { return arg{value: uintptr(v), names: names} }

func flagNames(v int, names []name) string {
	if v == 0 {
		return "0"
	}
	var set []string
	rest := v
	for _, n := range names {
		if rest&n.value == n.value {
			set = append(set, n.name)
			rest &^= n.value
		}
	}
	if rest != 0 {
		set = append(set, "0x"+strconv.FormatInt(int64(rest), 16))
	}
	return strings.Join(set, "|")
}

func errnoName(e syscall.Errno) string {
	if s := unix.ErrnoName(e); s != "" {
		return s
	}
	return "errno " + strconv.Itoa(int(e))
}
