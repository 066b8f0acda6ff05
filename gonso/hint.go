package gonso

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/gonso/gonso/internal/codec"
)

// evidence is the state of the system, as it was read after a refusal. The zero value means that
// nothing could be read.
type evidence struct {
	caps      capSet         // of this thread
	capsKnown bool           // caps could be read
	limits    map[Type]int64 // user.max_*_namespaces
	usernsOff bool           // kernel.unprivileged_userns_clone is 0 (Debian's kernels)
	appArmor  bool           // kernel.apparmor_restrict_unprivileged_userns is 1 (Ubuntu's)
	seccomp   bool           // a filter is active
	chrooted  bool           // root is not that of the mount namespace
	limitsIn  string         // the user namespace of limits, if it is not this one: " in ..."
	unread    string         // the mount option that hides the sysctls of /proc, or ""
	kernel    version
	has       Type   // types of the kernel, 0 if they are not known
	ids       bool   // gonso has looked for a broken rule for ids
	idRule    string // this rule, or ""
	processes processLimits

	inside   bool      // the refused process is in a user namespace, with all capabilities there
	noUserNS string    // why a user namespace made along would be refused, too
	owner    ownership // of the namespace that could not be joined
	ownsIt   bool      // the namespace is a user namespace that this user owns
	fresh    bool      // a mount of a procfs or sysfs was refused
	overlay  bool      // a mount of an overlay file system was refused
	confined string    // the profile that a security module has for this thread, or ""
	topmost  bool      // this thread is in the initial user namespace
	mounts   int       // in the mnt namespace of this thread, 0 if the refusal was in another one
	mountMax int64     // fs.mount-max, or 0
	keys     keyQuota
	trace    *traceEvidence
}

// ownership says which user namespace owns a namespace that could not be joined, as this process
// sees it.
type ownership int

const (
	ownerUnknown     ownership = iota
	ownerIsOwn                 // this process's
	ownerIsBelow               // one below this process's
	ownerIsElsewhere           // the kernel does not show it to this process
)

// keyQuota is how many keys and bytes a user has, and how many the user may have
// (proc_key_users(5)).
type keyQuota struct {
	uid                            uint32
	keys, maxKeys, bytes, maxBytes uint64
}

// pinEvidence is the state of the system, as it was read after pinning was refused.
type pinEvidence struct {
	evidence
	mount mountLine // the one that has the path
	dir   string    // the directory for the advice
}

// refusal is the refused operation and the evidence. Rules look at it.
type refusal struct {
	op    string
	types Type
	err   error
	pinEvidence
}

// rule names one cause of refusals. A cause that the evidence proves reads as a fact. A cause that
// it only suggests reads as a possibility. Without evidence there is no hint.
type rule struct {
	matches func(r *refusal) bool
	proven  bool
	text    string
	say     func(r *refusal) string // in place of text
}

// or is the text between possibilities.
const or = "; or "

// explain returns the first cause that is proven, or else all possible causes.
func explain(rules []rule, r *refusal) string {
	var possible []string
	for _, u := range rules {
		if !u.matches(r) {
			continue
		}
		text := u.text
		if u.say != nil {
			text = u.say(r)
		}
		if u.proven {
			return text
		}
		possible = append(possible, text)
	}
	if len(possible) == 0 {
		return ""
	}
	return "possibly " + strings.Join(possible, or)
}

func (r *refusal) is(errno syscall.Errno) bool { return errors.Is(r.err, errno) }

func (r *refusal) about(types Type) bool { return r.types&types != 0 }

func (r *refusal) denied() bool { return r.is(syscall.EPERM) || r.is(syscall.EACCES) }

// tooMany: a limit is reached. ENOSPC has nothing to do with disks here: see unshare(2).
func (r *refusal) tooMany() bool {
	return r.is(syscall.ENOSPC) && !r.mounting() || r.is(syscall.EUSERS) && r.about(User)
}

// mounting: the refused call changes mounts.
func (r *refusal) mounting() bool {
	return r.op == "mount" || r.op == "pivot_root" || r.op == "set propagation of" || r.op == "bring the root to"
}

// lacks: the refused thread or process is known not to have a capability.
func (r *refusal) lacks(capability uint) bool {
	return r.capsKnown && !r.inside && !r.caps.has(capability)
}

// writes: the refused call wrote to a file. A filter of system calls does not see the file.
func (r *refusal) writes() bool { return strings.HasPrefix(r.op, "write") }

// filesOfProc: the refused call opened or wrote a file of /proc.
func (r *refusal) filesOfProc() bool { return r.writes() || strings.HasPrefix(r.op, "open") }

// byModule: the kernel itself has no reason to refuse namespaces by this error.
func (r *refusal) byModule() bool {
	mighty := r.inside || r.sysAdmin()
	switch {
	case r.op != "unshare" && r.op != "setns" || r.inside && r.confined != "", r.deniedUser() && r.appArmor && !r.sysAdmin():
		return false
	case r.is(syscall.EACCES):
		return true
	case !r.is(syscall.EPERM) || r.seccomp || r.idRule != "":
		return false
	case r.op == "unshare":
		return mighty && !r.about(User)
	}
	return mighty && r.capsKnown && !r.lacks(capSysChroot) && (r.owner == ownerIsOwn || r.owner == ownerIsBelow || r.owner == ownerUnknown && r.topmost)
}

func (r *refusal) deniedUser() bool { return r.denied() && r.op == "unshare" && r.about(User) }

// sysAdmin: this thread is known to have CAP_SYS_ADMIN.
func (ev *evidence) sysAdmin() bool { return ev.caps.has(capSysAdmin) }

// lacksSysAdmin: it is known that this thread has no CAP_SYS_ADMIN.
func (r *refusal) lacksSysAdmin() bool { return r.capsKnown && !r.sysAdmin() }

// setsUp: the refused call sets an interface up.
func (r *refusal) setsUp() bool {
	return r.about(Net) && (r.op == "ioctl" || r.op == "set loopback up in")
}

// limited returns the types whose limit is known: if zero is set, the types with a limit of 0, else
// the others.
func (r *refusal) limited(zero bool) (types []Type) {
	for _, t := range singles(r.types) {
		if n, known := r.limits[t]; known && (n == 0) == zero {
			types = append(types, t)
		}
	}
	return types
}

// hintRules are for namespaces.
var hintRules = []rule{
	{
		matches: func(r *refusal) bool { return r.is(syscall.ENOSPC) && r.mounting() && r.tooManyMounts() },
		proven:  true,
		say:     sayMounts,
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.ENOSPC) && r.mounting() && r.mountMax > 0 },
		say: func(r *refusal) string {
			return fmt.Sprintf("the mnt namespace has as many mounts as the sysctl fs.mount-max allows, %d", r.mountMax)
		},
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.EDQUOT) && r.op == "keyctl" && r.keys.full() },
		proven:  true,
		say: func(r *refusal) string {
			q := &r.keys
			return fmt.Sprintf("uid %d has %d keys of at most %d, and %d bytes in them of at most %d (/proc/key-users; the sysctls kernel.keys.maxkeys and maxbytes, or root_maxkeys and root_maxbytes)",
				q.uid, q.keys, q.maxKeys, q.bytes, q.maxBytes)
		},
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.EDQUOT) && r.op == "keyctl" },
		text:    "the user who this process is inside has used up the quota of keys (/proc/key-users; the sysctls kernel.keys.*)",
	}, {
		matches: func(r *refusal) bool { return r.tooMany() && len(r.limited(true)) > 0 },
		proven:  true,
		say: func(r *refusal) string {
			return sayNone(r.limited(true)[0], r.limitsIn)
		},
	}, {
		matches: func(r *refusal) bool { return r.tooMany() && len(r.limited(false)) > 0 },
		say: func(r *refusal) string {
			var texts []string
			for _, t := range r.limited(false) {
				texts = append(texts, fmt.Sprintf("the limit user.max_%v_namespaces of %d is reached%s, here or in a parent user namespace", t, r.limits[t], r.limitsIn))
			}
			return strings.Join(texts, or)
		},
	}, {
		matches: func(r *refusal) bool { return r.tooMany() && len(r.limits) == 0 && r.unread != "" },
		say: func(r *refusal) string {
			var names []string
			for _, t := range singles(r.types) {
				names = append(names, fmt.Sprintf("user.max_%v_namespaces", t))
			}
			return sayUnread("a limit of namespaces is reached: the sysctl "+strings.Join(names, " or "), r.unread)
		},
	}, {
		matches: func(r *refusal) bool { return r.tooMany() && r.about(User|PID) },
		text:    "namespaces are nested 32 deep",
	}, {
		matches: func(r *refusal) bool { return r.deniedUser() && r.usernsOff && !r.sysAdmin() },
		proven:  true,
		text:    usernsIsOff,
	}, {
		matches: func(r *refusal) bool { return r.deniedUser() && r.chrooted },
		proven:  true,
		text:    chrootForbids,
	}, {
		matches: func(r *refusal) bool { return r.deniedUser() && r.appArmor && !r.sysAdmin() },
		text:    "AppArmor restricts unprivileged user namespaces (the sysctl kernel.apparmor_restrict_unprivileged_userns is 1)" + profileLifts,
	}, {
		matches: func(r *refusal) bool { return r.deniedUser() && r.unread != "" && !r.sysAdmin() },
		say: func(r *refusal) string {
			return sayUnread("a sysctl forbids it, kernel.unprivileged_userns_clone or kernel.apparmor_restrict_unprivileged_userns", r.unread)
		},
	}, { // a root that is a mount may still be the mnt namespace's own: only this cause cannot be seen
		matches: func(r *refusal) bool {
			return r.is(syscall.EPERM) && r.deniedUser() && r.capsKnown && !r.chrooted && !r.seccomp && r.idRule == "" &&
				(r.sysAdmin() || !r.appArmor && r.unread == "")
		},
		say: func(r *refusal) string {
			return "this process is in a chroot, to a mount, and there the kernel allows no new user namespaces" + pivotRoot + or + sayModule(r)
		},
	}, {
		matches: func(r *refusal) bool {
			return r.denied() && r.op == "unshare" && !r.about(User) && r.lacksSysAdmin()
		},
		proven: true,
		say: func(r *refusal) string {
			if r.noUserNS != "" {
				return "it needs CAP_SYS_ADMIN, and a user namespace made along with it, which would give that, would be refused, too: " + r.noUserNS
			}
			return "it needs CAP_SYS_ADMIN; without privileges, make a user namespace along with it"
		},
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.EPERM) && r.setsUp() && r.lacks(capNetAdmin) },
		proven:  true,
		text:    "it needs CAP_NET_ADMIN in the user namespace that owns the net namespace; where a user namespace is made along with it, that is had there",
	}, {
		matches: func(r *refusal) bool {
			return r.is(syscall.EPERM) && strings.HasPrefix(r.op, "write timens_offsets") && r.lacks(capSysTime)
		},
		proven: true,
		text:   "it needs CAP_SYS_TIME in the user namespace that owns the time namespace; where a user namespace is made along with it, that is had there",
	}, {
		matches: func(r *refusal) bool {
			return r.is(syscall.EPERM) && r.op == "setns" && !r.inside && r.owner == ownerIsElsewhere
		},
		proven: true,
		text:   "it belongs to a user namespace that is neither this process's own nor below that, and joining it takes CAP_SYS_ADMIN there, which nobody has here",
	}, {
		matches: func(r *refusal) bool {
			return r.is(syscall.EPERM) && r.op == "setns" && r.about(Mount) && r.lacks(capSysChroot)
		},
		proven: true,
		say: func(r *refusal) string {
			if r.lacksSysAdmin() {
				return "joining a mnt namespace takes CAP_SYS_ADMIN and CAP_SYS_CHROOT, and this process has neither" + giveCapability
			}
			return "joining a mnt namespace takes CAP_SYS_CHROOT as well, which this process lacks" + giveCapability
		},
	}, {
		matches: func(r *refusal) bool {
			return r.is(syscall.EPERM) && r.op == "setns" && !r.about(User) && r.owner == ownerIsOwn && r.lacks(capSysAdmin)
		},
		proven: true,
		text:   "it needs CAP_SYS_ADMIN in this process's own user namespace, which owns it" + giveCapability,
	}, {
		matches: func(r *refusal) bool {
			return r.denied() && r.op == "setns" && r.lacksSysAdmin() && !r.inside && r.about(User) && !r.ownsIt
		},
		text: "joining a user namespace takes CAP_SYS_ADMIN in it, which the user has who owns it, and who has it in one above",
	}, {
		matches: func(r *refusal) bool {
			return r.denied() && r.op == "setns" && r.lacksSysAdmin() && !r.inside && !r.about(User)
		},
		text: "it needs CAP_SYS_ADMIN in the user namespace that owns it, which this process does not have in its own; a Set that has that user namespace too would",
	}, {
		matches: func(r *refusal) bool { return r.denied() && r.idRule != "" },
		proven:  true,
		say:     func(r *refusal) string { return r.idRule },
	}, {
		matches: func(r *refusal) bool { return r.denied() && r.inside && r.appArmor && !r.sysAdmin() },
		text: "AppArmor restricts what may be done in user namespaces that programs without privileges make " +
			"(the sysctl kernel.apparmor_restrict_unprivileged_userns is 1)" + profileLifts,
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.EPERM) && r.overlay && r.kernel.before(overlaySince) },
		proven:  true,
		say: func(r *refusal) string {
			return fmt.Sprintf("overlay file systems in user namespaces came with %v, and this is %v", overlaySince, r.kernel)
		},
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.ENODEV) && r.overlay },
		proven:  true,
		text:    "this kernel has no overlay file system: it was built without CONFIG_OVERLAY_FS, or its module is not loaded (modprobe overlay)",
	}, {
		matches: func(r *refusal) bool {
			return r.denied() && (r.mounting() || r.inside) && r.confined != "" && !r.writes()
		},
		say: sayModule,
	}, {
		matches: func(r *refusal) bool {
			return r.is(syscall.EACCES) && r.mounting() && r.confined == "" && !(r.inside && r.appArmor && !r.sysAdmin())
		},
		say: sayModule,
	}, { // container-selinux#257, secureblue#754
		matches: (*refusal).byModule,
		say:     sayModule,
	}, {
		matches: func(r *refusal) bool {
			return r.is(syscall.EPERM) && r.mounting() && !r.fresh && (r.inside || r.sysAdmin()) && !r.seccomp
		},
		text: forbiddenMounts,
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.EACCES) && r.filesOfProc() && r.ids && r.idRule == "" },
		say: func(r *refusal) string {
			return "this program, or who started it, has forbidden itself files of /proc (landlock(7))" + or + sayModule(r)
		},
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.EROFS) && r.filesOfProc() },
		proven:  true,
		text: "the procfs on /proc is mounted read-only, and this is written to a file there; one that can be written to lifts that " +
			"(mount -o remount,bind,rw /proc; nsjail --proc_rw; bwrap --proc /proc)", // path: advice
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.EPERM) && r.seccomp && !r.writes() },
		text:    seccompIsActive,
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.EPERM) && r.op == "mount" && r.fresh },
		text: "parts of /proc or /sys are hidden here, as in many containers, and the kernel then lets nobody mount a fresh one in a user namespace (mount_too_revealing)" +
			or + "what it would show (/proc a pid namespace, /sys a net namespace) was not made along with it and belongs to another user namespace",
	}, {
		matches: func(r *refusal) bool { return r.denied() && r.writes() && !r.ids && r.lacksSysAdmin() },
		text:    "without privileges only the caller's own effective uid and gid can be mapped, one line of one id each, with setgroups denied",
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.ENOSYS) && r.older() },
		proven:  true,
		say: func(r *refusal) string {
			return fmt.Sprintf("%s came with %v, and this is %v", r.op, callSince[r.op], r.kernel)
		},
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.EAFNOSUPPORT) && r.call() == "socket" && r.seccomp },
		text:    "a filter allows only other families of sockets (RestrictAddressFamilies= of systemd)",
	}, { // every version of the kernel has these calls, so only a filter takes them away
		matches: func(r *refusal) bool { return r.is(syscall.ENOSYS) && r.seccomp },
		proven:  true,
		say:     func(r *refusal) string { return fmt.Sprintf(seccompForbids, r.call()) },
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.ENOSYS) && !r.seccomp },
		text:    "what runs this program is no kernel, but answers for one, and does not know the call (gVisor, qemu-user)",
	}, {
		matches: (*refusal).ofMissingTypes,
		proven:  true,
		say:     func(r *refusal) string { return sayMissing(r.lacking()) },
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.EINVAL) && r.op == "unshare" && r.has == 0 },
		text:    "the kernel was built without this type",
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.EINVAL) && r.op == "unshare" && r.has != 0 && r.seccomp },
		text:    seccompIsActive,
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.EINVAL) && r.op == "setns" && r.about(PID) },
		text:    "the pid namespace is not below this process's own (setns(2))",
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.ETOOMANYREFS) },
		proven:  true,
		text:    "more descriptors of this user are on their way between processes than RLIMIT_NOFILE allows (unix(7)): some process sends descriptors, and nobody receives them",
	}, {
		matches: func(r *refusal) bool {
			return r.is(syscall.ENOMEM) && r.about(PID) && r.op == "clone"
		},
		text: "the pid namespace is dead: its init has ended, and nothing can be started in it any more (pid_namespaces(7))",
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.ERANGE) && r.about(Time) },
		proven:  true,
		text:    "with these offsets a clock would be before its zero, the boot of the machine, or more than 146 years after it (time_namespaces(7))",
	},
}

// tooManyMounts: this thread's mnt namespace is known to be full.
func (r *refusal) tooManyMounts() bool { return r.mountMax > 0 && int64(r.mounts) >= r.mountMax }

func sayMounts(r *refusal) string {
	return fmt.Sprintf("the mnt namespace has %d mounts, and the sysctl fs.mount-max allows %d", r.mounts, r.mountMax)
}

// parseKeyUsers finds a user in /proc/key-users: "    0:    15 14/14 12/1000000 195/25000000".
func parseKeyUsers(text string, uid uint32) keyQuota {
	for line := range strings.Lines(text) {
		user, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		f := strings.Fields(rest)
		if user != strconv.FormatUint(uint64(uid), 10) || len(f) != 4 {
			continue
		}
		q := keyQuota{uid: uid}
		for _, of := range []struct {
			text      string
			have, may *uint64
		}{{f[2], &q.keys, &q.maxKeys}, {f[3], &q.bytes, &q.maxBytes}} {
			have, may, _ := strings.Cut(of.text, "/")
			var err, err2 error
			*of.have, err = strconv.ParseUint(have, 10, 64)
			*of.may, err2 = strconv.ParseUint(may, 10, 64)
			if err != nil || err2 != nil {
				return keyQuota{}
			}
		}
		return q
	}
	return keyQuota{}
}

// full reports whether the user may not have another keyring.
func (q *keyQuota) full() bool {
	const keyring = 256 // bytes, more than a new keyring takes
	return q.maxKeys > 0 && (q.keys >= q.maxKeys || q.bytes+keyring > q.maxBytes)
}

// seccompIsActive: a process without privileges cannot read a filter, so only its presence is
// known.
const seccompIsActive = "a seccomp filter is active, as in most containers" + allowCall

// seccompForbids is for errors of a call that only a filter gives.
const seccompForbids = "a filter of system calls (seccomp) forbids %s" + allowCall

// What to do.
const (
	allowCall = "; a profile that allows the call lifts it " +
		"(docker run --security-opt seccomp=FILE; securityContext.seccompProfile; RestrictNamespaces= and SystemCallFilter= of systemd)"
	giveCapability = "; who starts it can give that (docker run --cap-add; securityContext.capabilities.add; " +
		"CapabilityBoundingSet= and AmbientCapabilities= of systemd; setcap)"
	profileLifts = "; a profile for this program with the rule userns lifts that"

	usernsIsOff   = "unprivileged user namespaces are switched off: the sysctl kernel.unprivileged_userns_clone is 0; root switches them on: sysctl -w kernel.unprivileged_userns_clone=1"
	chrootForbids = "this process is in a chroot, where the kernel allows no new user namespaces" + pivotRoot
	pivotRoot     = "; where pivot_root(2) has brought it to the same directory, it allows them"
)

// sayModule is for a refusal by a security module.
func sayModule(r *refusal) string {
	if r.confined != "" {
		return fmt.Sprintf("the profile that a security module has for this process, %s, forbids it", r.confined)
	}
	return "a security module forbids it (AppArmor, SELinux)"
}

const forbiddenMounts = "this program, or who started it, has forbidden itself mounts (landlock(7)), or a security module has"

// sayNone is for a type with a limit of 0. in names the user namespace with the limit, or is "".
func sayNone(t Type, in string) string {
	return fmt.Sprintf("the sysctl user.max_%v_namespaces is 0%s; root there can raise it: sysctl -w user.max_%[1]v_namespaces=1000", t, in)
}

// lacking returns the types that the kernel is known not to have.
func (r *refusal) lacking() Type {
	if r.has == 0 {
		return 0
	}
	return r.types & AllTypes &^ r.has
}

// ofMissingTypes: making types was refused because the kernel does not have one of those.
func (r *refusal) ofMissingTypes() bool {
	return r.is(syscall.EINVAL) && r.op == "unshare" && r.lacking() != 0
}

// pinHint is hint for mounts. t is 0 for unmounting.
func pinHint(t Type, err error, ev *pinEvidence) string {
	return explain(pinRules, &refusal{types: t, err: err, pinEvidence: *ev})
}

var pinRules = []rule{
	{
		matches: func(r *refusal) bool { return r.is(syscall.EPERM) && r.lacksSysAdmin() },
		proven:  true,
		text:    "it needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace of this thread",
	}, {
		matches: func(r *refusal) bool {
			return r.is(syscall.EPERM) && r.capsKnown && (r.owner == ownerUnknown || r.owner == ownerIsElsewhere)
		},
		text: "the mount namespace of this thread belongs to a user namespace above this process's own",
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.ENOSYS) && r.seccomp },
		proven:  true,
		say: func(r *refusal) string {
			call := "mounts"
			if se, ok := errors.AsType[*os.SyscallError](r.err); ok {
				call = se.Syscall
			}
			return fmt.Sprintf(seccompForbids, call)
		},
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.EPERM) && r.seccomp },
		text:    seccompIsActive,
	}, {
		matches: func(r *refusal) bool {
			return r.is(syscall.EPERM) && r.sysAdmin() && (r.owner == ownerIsOwn || r.owner == ownerIsBelow) && !r.seccomp
		},
		text: forbiddenMounts,
	}, { // mnt_ns_loop in fs/namespace.c
		matches: func(r *refusal) bool { return r.is(syscall.ELOOP) && r.about(Mount) },
		proven:  true,
		text:    "a mnt namespace can be pinned only in an older one, and the thread that pins is in this one, or in a newer one; Set.Without leaves it out",
	}, { // propagate_one in fs/pnode.c copies without CL_COPY_MNT_NS_FILE
		matches: func(r *refusal) bool { return r.is(syscall.EINVAL) && r.about(Mount) && r.mount.shared },
		proven:  true,
		say: func(r *refusal) string {
			return fmt.Sprintf("mnt namespaces cannot be pinned on a mount that is shared with others, as that at %s is; make a private one: mount --bind %[2]s %[2]s && mount --make-private %[2]s",
				r.mount.point, r.dir)
		},
	}, { // umount2
		matches: func(r *refusal) bool { return r.is(syscall.EINVAL) && r.types == 0 },
		text:    "it was pinned in another mount namespace, and this one has it from there",
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.ENOSPC) && r.tooManyMounts() },
		proven:  true,
		say:     sayMounts,
	}, {
		matches: func(r *refusal) bool { return r.is(syscall.ENOSPC) },
		text:    "the sysctl fs.mount-max is reached",
	},
}

// placeHint is hint for the options [Root], [Dir] and [Umask].
func resultHint(err error) string { return explain(resultRules, &refusal{err: err}) }

var resultRules = []rule{
	{
		matches: func(r *refusal) bool { return errors.Is(r.err, codec.ErrTooLarge) },
		proven:  true,
		text:    "Worker.MaxResult bounds the memory that a result takes; a file or a stream has no such bound",
	},
}

func placeHint(err error) string { return explain(placeRules, &refusal{err: err}) }

var placeRules = []rule{
	{
		matches: func(r *refusal) bool {
			se, ok := errors.AsType[*os.SyscallError](r.err)
			return ok && se.Syscall == "chroot" && r.is(syscall.EPERM)
		},
		proven: true,
		text:   "it needs CAP_SYS_CHROOT, which work has in a user namespace of one's own",
	},
}
