package gonso

import (
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/gonso/gonso/reexec"
)

// What a machine forbids is named where the evidence is of just that. Each cause has look-alikes: the same error with
// another cause, which must not get its words.
func TestHintCannotNameAnotherCause(t *testing.T) {
	const (
		possibly = "possibly "
		proc     = "parts of /proc or /sys are hidden"
		apparmor = "kernel.apparmor_restrict_unprivileged_userns"
		landlock = "landlock"
		module   = "a security module"
		seccomp  = "seccomp filter"
		maxUser  = "user.max_"
	)
	all := evidence{capsKnown: true, caps: ^capSet(0)}
	none := evidence{capsKnown: true}
	with := func(ev evidence, change func(*evidence)) *evidence { change(&ev); return &ev }
	for name, c := range map[string]struct {
		op    string
		types Type
		err   error
		ev    *evidence
		want  []string
		never []string
	}{
		// nsjail#236, and Ubuntu 24.04: capabilities in the new user namespace do not count.
		"AppArmor of Ubuntu": {"mount", Mount, syscall.EACCES, with(none, func(ev *evidence) { ev.inside, ev.appArmor = true, true }),
			[]string{possibly, apparmor}, []string{proc, landlock}},
		"AppArmor of Ubuntu, loopback": {"ioctl", Net, syscall.EPERM, with(none, func(ev *evidence) { ev.inside, ev.appArmor = true, true }),
			[]string{possibly, apparmor}, []string{"CAP_NET_ADMIN"}},
		"that sysctl is nothing to root": {"mount", Mount, syscall.EACCES, with(all, func(ev *evidence) { ev.inside, ev.appArmor = true, true }),
			[]string{possibly, module}, []string{apparmor, proc}},
		"that sysctl is not about what is outside": {"unshare", Net, syscall.EPERM, with(none, func(ev *evidence) { ev.appArmor = true }),
			[]string{"CAP_SYS_ADMIN"}, []string{apparmor, possibly}},
		"a container's profile": {"mount", Mount, syscall.EACCES, with(all, func(ev *evidence) { ev.confined = `"docker-default (enforce)"` }),
			[]string{possibly, "docker-default"}, []string{proc, landlock}},
		"a module that does not show itself": {"mount", Mount, syscall.EACCES, with(none, func(ev *evidence) { ev.inside = true }),
			[]string{possibly, module}, []string{proc, apparmor}},
		"Landlock": {"mount", Mount, syscall.EPERM, with(none, func(ev *evidence) { ev.inside = true }),
			[]string{possibly, landlock}, []string{proc, apparmor, seccomp}},
		"a filter": {"mount", Mount, syscall.EPERM, with(none, func(ev *evidence) { ev.inside, ev.seccomp = true, true }),
			[]string{possibly, seccomp}, []string{proc, landlock}},
		"a filter does not answer EACCES": {"mount", Mount, syscall.EACCES, with(none, func(ev *evidence) { ev.inside, ev.seccomp = true, true }),
			[]string{possibly, module}, []string{seccomp}},
		"a fresh procfs": {"mount", Mount, syscall.EPERM, with(none, func(ev *evidence) { ev.inside, ev.fresh = true, true }),
			[]string{possibly, proc}, []string{landlock, module}},
		"a mount point that is not there": {"mount", Mount, syscall.ENOENT, with(none, func(ev *evidence) { ev.inside, ev.fresh = true, true }), nil, nil},

		"loopback without CAP_NET_ADMIN": {"set loopback up in", Net, syscall.EPERM, with(all, func(ev *evidence) { ev.caps &^= 1 << capNetAdmin }),
			[]string{"CAP_NET_ADMIN"}, []string{possibly}},
		"sockets of other families": {"socket in", Net, syscall.EAFNOSUPPORT, with(all, func(ev *evidence) { ev.seccomp = true }),
			[]string{possibly, "RestrictAddressFamilies="}, nil},
		"a kernel without sockets of a family": {"socket in", Net, syscall.EAFNOSUPPORT, &all, nil, nil},
		"a filter of all sockets": {"socket in", Net, syscall.ENOSYS, with(all, func(ev *evidence) { ev.seccomp = true }),
			[]string{"forbids socket;"}, []string{possibly}},
		"loopback with it":        {"set loopback up in", Net, syscall.EPERM, &all, nil, nil},
		"loopback that is not up": {"ioctl", Net, syscall.ENODEV, &none, nil, nil},
		"offsets without CAP_SYS_TIME": {"write timens_offsets of", Time, syscall.EPERM, with(all, func(ev *evidence) { ev.caps &^= 1 << capSysTime }),
			[]string{"CAP_SYS_TIME"}, []string{possibly}},
		"offsets with it": {"write timens_offsets of", Time, syscall.EPERM, &all, nil, nil},
		"mnt without CAP_SYS_CHROOT": {"setns", Mount, syscall.EPERM, with(all, func(ev *evidence) { ev.caps &^= 1 << capSysChroot }),
			[]string{"CAP_SYS_CHROOT as well"}, []string{possibly}},
		"mnt without both":     {"setns", Mount, syscall.EPERM, &none, []string{"CAP_SYS_ADMIN and CAP_SYS_CHROOT"}, []string{possibly}},
		"mnt with both":        {"setns", Mount, syscall.EPERM, &all, nil, nil},
		"net does not take it": {"setns", Net, syscall.EPERM, with(all, func(ev *evidence) { ev.caps &^= 1 << capSysChroot }), nil, nil},
		// Who is root in a user namespace of its own is no root of the host's.
		"fake root": {"setns", Net, syscall.EPERM, with(all, func(ev *evidence) { ev.owner = ownerIsElsewhere }),
			[]string{"neither this process's own nor below that"}, []string{possibly}},
		"a namespace of one's own": {"setns", Net, syscall.EPERM, with(none, func(ev *evidence) { ev.owner = ownerIsOwn }),
			[]string{"this process's own user namespace, which owns it"}, []string{possibly}},
		"an owner that is below": {"setns", Net, syscall.EPERM, with(all, func(ev *evidence) { ev.owner = ownerIsBelow }),
			[]string{possibly, module}, nil},
		"a namespace anywhere, of root": {"setns", Net, syscall.EPERM, with(all, func(ev *evidence) { ev.topmost = true }),
			[]string{possibly, module}, nil},

		// container-selinux#257, secureblue#754: SELinux answers EACCES, and the kernel itself never does.
		"SELinux": {"unshare", User | Net, syscall.EACCES, &none, []string{possibly, module, "SELinux"}, []string{"chroot", seccomp, or}},
		"SELinux, and a filter": {"unshare", User, syscall.EACCES, with(none, func(ev *evidence) { ev.seccomp = true }),
			[]string{possibly, module}, []string{seccomp}},
		"SELinux, by its label": {"unshare", User, syscall.EACCES, with(none, func(ev *evidence) { ev.confined = `"u:r:container_t:s0"` }),
			[]string{possibly, "container_t"}, []string{"AppArmor, SELinux"}},
		"SELinux, joining": {"setns", Net, syscall.EACCES, &all, []string{possibly, module}, []string{seccomp}},
		"AppArmor's EACCES": {"unshare", User, syscall.EACCES, with(none, func(ev *evidence) { ev.appArmor = true }),
			[]string{possibly, apparmor}, []string{or}},
		"root with all capabilities": {"unshare", Net, syscall.EPERM, &all, []string{possibly, module}, []string{"CAP_SYS_ADMIN"}},
		"a container's root, whose filter answers EPERM": {"unshare", Net, syscall.EPERM, with(all, func(ev *evidence) {
			ev.seccomp, ev.confined = true, `"docker-default (enforce)"`
		}), []string{possibly, seccomp}, []string{module, "docker-default"}},
		"a pid namespace that is dead":         {"clone", PID, syscall.ENOMEM, &all, []string{possibly, "its init has ended"}, nil},
		"a new one, for want of memory":        {"unshare", PID, syscall.ENOMEM, &all, nil, nil},
		"making namespaces for want of memory": {"unshare", Net, syscall.ENOMEM, &all, nil, nil},

		"Landlock, / read-only": {"write setgroups of", User, syscall.EACCES, with(none, func(ev *evidence) { ev.ids = true }),
			[]string{possibly, landlock, module}, []string{seccomp, "effective uid"}},
		"Landlock, /proc not to be read": {"open", User, syscall.EACCES, with(none, func(ev *evidence) { ev.ids = true }),
			[]string{possibly, landlock}, nil},
		"a map that breaks a rule": {"write uid_map of", User, syscall.EACCES, with(none, func(ev *evidence) { ev.ids, ev.idRule = true, "line 0" }),
			[]string{"line 0"}, []string{possibly, landlock}},
		"/proc read-only":         {"write uid_map of", User, syscall.EROFS, &none, []string{"/proc is mounted read-only", "remount"}, []string{possibly}},
		"a read-only mount point": {"mount", Mount, syscall.EROFS, &none, nil, nil},

		// Advice that would not help.
		"root without capabilities": {"unshare", Net, syscall.EPERM, with(none, func(ev *evidence) { ev.noUserNS = "it maps uid 0" }),
			[]string{"CAP_SYS_ADMIN", "would be refused, too: it maps uid 0"}, []string{possibly, "without privileges, make"}},

		// moby#22865
		"quota of keys": {"keyctl", User, syscall.EDQUOT, with(none, func(ev *evidence) { ev.keys = keyQuota{7, 200, 200, 4000, 20000} }),
			[]string{"uid 7 has 200 keys of at most 200", "4000 bytes in them of at most 20000"}, []string{possibly}},
		"quota of bytes": {"keyctl", User, syscall.EDQUOT, with(none, func(ev *evidence) { ev.keys = keyQuota{7, 20, 200, 19999, 20000} }),
			[]string{"19999 bytes"}, []string{possibly}},
		"quota of another user": {"keyctl", User, syscall.EDQUOT, with(none, func(ev *evidence) { ev.keys = keyQuota{7, 20, 200, 400, 20000} }),
			[]string{possibly, "inside"}, []string{"uid 7"}},
		"quota of a disk": {"mount", Mount, syscall.EDQUOT, with(all, func(ev *evidence) { ev.keys = keyQuota{7, 200, 200, 4000, 20000} }), nil, nil},
		"too many mounts": {"mount", Mount, syscall.ENOSPC, with(all, func(ev *evidence) { ev.mounts, ev.mountMax, ev.limits = 10, 10, map[Type]int64{Mount: 0} }),
			[]string{"has 10 mounts, and the sysctl fs.mount-max allows 10"}, []string{possibly, maxUser}},
		"too many mounts, elsewhere": {"mount", Mount, syscall.ENOSPC, with(all, func(ev *evidence) { ev.mounts, ev.mountMax, ev.limits = 5, 10, map[Type]int64{Mount: 9} }),
			[]string{possibly, "fs.mount-max allows, 10"}, []string{maxUser, "5"}},
		// bubblewrap#615
		"too many namespaces": {"unshare", Mount, syscall.ENOSPC, with(all, func(ev *evidence) { ev.mounts, ev.mountMax, ev.limits = 10, 10, map[Type]int64{Mount: 9} }),
			[]string{possibly, "user.max_mnt_namespaces of 9"}, []string{"fs.mount-max"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := hint(c.op, c.types, c.err, c.ev)
			if len(c.want) == 0 && got != "" {
				t.Errorf("%q, want no hint", got)
			}
			for _, part := range c.want {
				if !strings.Contains(got, part) {
					t.Errorf("%q, want %q in it", got, part)
				}
			}
			for _, part := range c.never {
				if strings.Contains(got, part) {
					t.Errorf("%q, with %q in it", got, part)
				}
			}
		})
	}
}

// Landlock forbids mounts to root, too, in a mount namespace of its own.
func TestPinThatLandlockForbidsCannotBeRefusedInSilence(t *testing.T) {
	root := pinEvidence{evidence: evidence{capsKnown: true, caps: ^capSet(0), owner: ownerIsOwn}}
	if got := pinHint(UTS, syscall.EPERM, &root); !strings.HasPrefix(got, "possibly ") || !strings.Contains(got, "landlock") {
		t.Errorf("%q", got)
	}
	filter, plain, above := root, root, root
	filter.seccomp, plain.caps, above.owner = true, 0, ownerIsElsewhere
	for name, ev := range map[string]pinEvidence{"a filter": filter, "without CAP_SYS_ADMIN": plain, "somebody else's mounts": above} {
		if got := pinHint(UTS, syscall.EPERM, &ev); got == "" || strings.Contains(got, "landlock") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A launcher that cannot make a child, as one in a new pid namespace does, says what is used up, with numbers.
func TestChildThatCannotBeMadeNamesALimit(t *testing.T) {
	for _, op := range []string{"clone", "execve"} {
		err := launchError(PID, &reexec.LaunchError{Op: op, Type: uint32(PID), Err: syscall.EAGAIN})
		e, ok := errors.AsType[*Error](err)
		if !ok || !strings.Contains(e.Hint, "limit of the system is reached") && !strings.Contains(e.Hint, "RLIMIT_NPROC") && !strings.Contains(e.Hint, "pids.max") {
			t.Errorf("%s: %v", op, err)
		}
	}
	if e, ok := errors.AsType[*Error](launchError(PID, &reexec.LaunchError{Op: "clone", Type: uint32(PID), Err: syscall.EINTR})); !ok || e.Hint != "" {
		t.Errorf("another error: %q", e.Hint)
	}
}
