package gonso

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
)

// evidence is what was read off the system after a refusal. The zero value
// means that nothing could be read.
type evidence struct {
	sysAdmin  bool           // this thread has CAP_SYS_ADMIN
	capsKnown bool           // sysAdmin could be read
	limits    map[Type]int64 // user.max_*_namespaces
	usernsOff bool           // kernel.unprivileged_userns_clone is 0 (Debian's kernels)
	appArmor  bool           // kernel.apparmor_restrict_unprivileged_userns is 1 (Ubuntu's)
	seccomp   bool           // a filter is active
	chrooted  bool           // root is not that of the mount namespace
}

// placeHint is for what Root needs.
func placeHint(err error) string {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) && pe.Op == "chroot" && errors.Is(err, syscall.EPERM) {
		return "it needs CAP_SYS_CHROOT, which work has in a user namespace of one's own"
	}
	return ""
}

// hint names a likely cause of a refusal. What the evidence proves reads as a
// fact, what it only suggests reads as a possibility, and without evidence
// there is no hint.
func hint(op string, types Type, err error, ev *evidence) string {
	var possible []string
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EUSERS) && types&User != 0:
		// ENOSPC has nothing to do with disks here; see unshare(2).
		for _, t := range singles(types) {
			switch n, known := ev.limits[t]; {
			case known && n == 0:
				return fmt.Sprintf("the sysctl user.max_%v_namespaces is 0", t)
			case known:
				possible = append(possible, fmt.Sprintf("the limit user.max_%v_namespaces of %d is reached, here or in a parent user namespace", t, n))
			}
		}
		if types&(User|PID) != 0 {
			possible = append(possible, "namespaces are nested 32 deep")
		}
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		if op == "unshare" && types&User != 0 {
			if ev.usernsOff && !ev.sysAdmin {
				return "unprivileged user namespaces are switched off: the sysctl kernel.unprivileged_userns_clone is 0"
			}
			if ev.chrooted {
				return "this process is in a chroot, where the kernel allows no new user namespaces"
			}
			if ev.appArmor && !ev.sysAdmin {
				possible = append(possible, "AppArmor restricts unprivileged user namespaces (the sysctl kernel.apparmor_restrict_unprivileged_userns is 1)")
			}
		} else if ev.capsKnown && !ev.sysAdmin {
			switch op {
			case "unshare":
				return "it needs CAP_SYS_ADMIN; without privileges, make a user namespace along with it"
			case "setns":
				possible = append(possible, "it needs CAP_SYS_ADMIN in the user namespace that owns it, which this process does not have in its own; a Set that has that user namespace too would")
			}
		}
		if ev.seccomp {
			possible = append(possible, "a seccomp filter is active")
		}
		if op == "mount" && types&Mount != 0 {
			possible = append(possible, "parts of /proc are hidden here, as in many containers, and the kernel then lets nobody mount a fresh one in a user namespace (mount_too_revealing)",
				"the pid namespace that it would show was not made along with it and belongs to another user namespace")
		}
		if strings.HasPrefix(op, "write") && ev.capsKnown && !ev.sysAdmin {
			possible = append(possible, "without privileges only the caller's own effective uid and gid can be mapped, one line of one id each, with setgroups denied")
		}
	case errors.Is(err, syscall.EINVAL) && op == "unshare":
		possible = append(possible, "the kernel was built without this type")
	case errors.Is(err, syscall.EINVAL) && op == "setns" && types&PID != 0:
		possible = append(possible, "the pid namespace is not below this process's own (setns(2))")
	case errors.Is(err, syscall.ENOMEM) && types&PID != 0 && (op == "clone" || op == "unshare"):
		possible = append(possible, "the pid namespace is dead: its init has ended, and nothing can be started in it any more (pid_namespaces(7))")
	case errors.Is(err, syscall.ERANGE) && types&Time != 0:
		return "with these offsets a clock would be before its zero, the boot of the machine, or more than 146 years after it (time_namespaces(7))"
	}
	if len(possible) == 0 {
		return ""
	}
	return "possibly " + strings.Join(possible, "; or ")
}
