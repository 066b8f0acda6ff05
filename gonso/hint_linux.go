package gonso

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// maxEvidence bounds what is read for a hint. A mnt namespace of somebody else's may have as many mounts
// as fs.mount-max allows.
const maxEvidence = 16 << 20

func findHint(op string, types Type, err error) string {
	return hint(op, types, err, gatherEvidence(types))
}

// gatherEvidence looks at the calling thread and the system.
func gatherEvidence(types Type) *evidence {
	ev := &evidence{
		limits:    namespaceLimits(types),
		usernsOff: sysctlIs("kernel/unprivileged_userns_clone", func(n int64) bool { return n == 0 }),
		appArmor:  sysctlIs("kernel/apparmor_restrict_unprivileged_userns", func(n int64) bool { return n != 0 }),
		seccomp:   filtered(),
		chrooted:  chrooted() || rootElsewhere(),
	}
	if caps, err := sys.ThreadCaps(); err == nil {
		ev.capsKnown, ev.sysAdmin = true, caps.Effective.Has(unix.CAP_SYS_ADMIN)
	}
	return ev
}

// namespaceLimits are those of this user in this user namespace.
func namespaceLimits(types Type) map[Type]int64 {
	limits := make(map[Type]int64)
	types.each(func(i int, t Type) {
		if n, ok := sysctl("user/max_" + typeTable[i].name + "_namespaces"); ok {
			limits[t] = n
		}
	})
	return limits
}

func sysctl(name string) (int64, bool) {
	b, err := procfs.ReadFile("sys/"+name, maxEvidence)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(b), 10, 64)
	return n, err == nil
}

// sysctlIs is false where there is no such sysctl.
func sysctlIs(name string, what func(int64) bool) bool {
	n, ok := sysctl(name)
	return ok && what(n)
}

// filtered reports whether a seccomp filter is active on this thread.
func filtered() bool {
	status, err := procfs.ReadFile("thread-self/status", maxEvidence)
	return err == nil && strings.Contains(status, "\nSeccomp:\t2\n")
}

// chrooted looks for this thread's root among its mounts: the root of a mount
// namespace is always a mount point.
func chrooted() bool {
	mounts, err := threadMounts()
	for _, m := range mounts {
		if m.point == "/" {
			return false
		}
	}
	return err == nil
}

// threadMounts are the mounts that the calling thread sees.
func threadMounts() ([]mountLine, error) {
	b, err := procfs.ReadFile("thread-self/mountinfo", maxEvidence)
	if err != nil {
		return nil, err
	}
	return parseMountinfo(b), nil
}
