package gonso

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// refused is the error for something that the kernel did not do.
func refused(op string, types Type, err error) error {
	return &Error{Op: op, Type: types, Err: err, Hint: hint(op, types, err, gatherEvidence(types))}
}

func gatherEvidence(types Type) *evidence {
	ev := &evidence{limits: make(map[Type]int64)}
	types.each(func(i int, t Type) {
		if n, ok := sysctl("user/max_" + typeTable[i].name + "_namespaces"); ok {
			ev.limits[t] = n
		}
	})
	n, ok := sysctl("kernel/unprivileged_userns_clone")
	ev.usernsOff = ok && n == 0
	n, ok = sysctl("kernel/apparmor_restrict_unprivileged_userns")
	ev.appArmor = ok && n != 0
	if status, err := os.ReadFile("/proc/thread-self/status"); err == nil {
		for line := range strings.Lines(string(status)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), ":\t")
			switch key {
			case "Seccomp":
				ev.seccomp = value == "2"
			case "CapEff":
				caps, err := strconv.ParseUint(value, 16, 64)
				ev.capsKnown = err == nil
				ev.sysAdmin = caps&(1<<unix.CAP_SYS_ADMIN) != 0
			}
		}
	}
	ev.chrooted = chrooted()
	return ev
}

func sysctl(name string) (int64, bool) {
	b, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}

// chrooted looks for this process's root among its mounts: the root of a mount
// namespace is always a mount point.
func chrooted() bool {
	b, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == "/" {
			return false
		}
	}
	return true
}
