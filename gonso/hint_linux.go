package gonso

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// maxEvidence limits how many bytes are read for a hint. A mnt namespace of somebody else may have
// as many mounts as fs.mount-max allows.
const maxEvidence = 16 << 20

// findHint also reports whether the cause is a type that the kernel does not have.
func findHint(op string, types Type, err error, add func(*evidence)) (text string, missing bool) {
	ev := gatherEvidence(types)
	add(ev)
	ev.noUserNS = ev.alongRefused(op, types)
	r := refusal{op, types, err, pinEvidence{evidence: *ev}}
	return explain(hintRules, &r), r.ofMissingTypes()
}

// gatherEvidence looks at the calling thread and the system.
func gatherEvidence(types Type) *evidence {
	mounts, err := threadMounts()
	ev := &evidence{
		limits:    namespaceLimits(types),
		usernsOff: sysctlIs("kernel/unprivileged_userns_clone", func(n int64) bool { return n == 0 }),
		appArmor:  sysctlIs("kernel/apparmor_restrict_unprivileged_userns", func(n int64) bool { return n != 0 }),
		seccomp:   filtered(),
		chrooted:  err == nil && rootIsNone(mounts) || rootElsewhere(),
		mounts:    len(mounts),
		confined:  profileOfThread(),
		keys:      keysOfUser(),
		unread:    sysctlsHidden(mounts),
		kernel:    kernelVersion(),
		has:       typesOfKernel(),
	}
	ev.mountMax, _ = sysctl("fs/mount-max")
	ev.topmost = inTopmost()
	if caps, err := sys.ThreadCaps(); err == nil {
		ev.capsKnown, ev.caps = true, capSet(caps.Effective)
	}
	return ev
}

// alongRefused says why it would not help to make a user namespace along with the other types: the
// kernel would refuse that one, too, with default maps. It is "" if that is not known, or if it
// would help.
func (ev *evidence) alongRefused(op string, types Type) string {
	if op != "unshare" || types&User != 0 || ev.sysAdmin() {
		return ""
	}
	switch n, limited := namespaceLimits(User)[User]; {
	case ev.usernsOff:
		return usernsIsOff
	case ev.chrooted:
		return chrootForbids
	case limited && n == 0:
		return sayNone(User, "")
	}
	ids := new(core).gatherIDs(false)
	if why := ids.refusedOwner(); why != "" {
		return why
	}
	return ids.refusedMaps([]IDMap{{HostID: ids.euid, Size: 1}}, []IDMap{{HostID: ids.egid, Size: 1}}, !hasCapability(unix.CAP_SETGID))
}

// inTopmost reports whether the calling thread is in the initial user namespace, as far as the map
// shows it.
func inTopmost() bool {
	u, err := procfs.ReadFile("thread-self/uid_map", maxEvidence)
	return err == nil && strings.Join(strings.Fields(u), " ") == "0 0 4294967295"
}

// profileOfThread is the name of the AppArmor profile, or the SELinux label, that confines this
// thread (proc_pid_attr(5)). It is "" if none is known.
func profileOfThread() string {
	for _, name := range []string{"thread-self/attr/apparmor/current", "thread-self/attr/current"} {
		label, err := procfs.ReadFile(name, maxEvidence)
		label = strings.TrimRight(label, "\x00\n")
		if err == nil && label != "" && label != "unconfined" && !strings.Contains(label, "unconfined_t") {
			return strconv.Quote(label)
		}
	}
	return ""
}

// keysOfUser looks up this thread's user in /proc/key-users, which lists users of this user
// namespace.
func keysOfUser() (q keyQuota) {
	users, err := procfs.ReadFile("key-users", maxEvidence)
	if err != nil {
		return q
	}
	return parseKeyUsers(users, uint32(os.Geteuid()))
}

// namespaceLimits are the limits of this user in this user namespace.
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

// sysctlIs is false if the sysctl does not exist.
func sysctlIs(name string, what func(int64) bool) bool {
	n, ok := sysctl(name)
	return ok && what(n)
}

// filtered reports whether a seccomp filter is active on this thread.
func filtered() bool {
	status, err := procfs.ReadFile("thread-self/status", maxEvidence)
	return err == nil && strings.Contains(status, "\nSeccomp:\t2\n")
}

// rootIsNone reports whether this thread's root is not a mount point. The root of a mount namespace
// always is a mount point.
func rootIsNone(mounts []mountLine) bool {
	return !slices.ContainsFunc(mounts, func(m mountLine) bool { return m.point == "/" })
}

// threadMounts are the mounts that the calling thread sees.
func threadMounts() ([]mountLine, error) {
	b, err := procfs.ReadFile("thread-self/mountinfo", maxEvidence)
	if err != nil {
		return nil, err
	}
	return parseMountinfo(b), nil
}
