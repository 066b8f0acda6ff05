package reexec

import (
	"context"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// This table decides which state of this process crosses into a Set. It does so once, for workers,
// programs and launchers that make namespaces:
//
//	what                          own Set                     somebody else's
//	descriptors                   none but those named        none but those named
//	dumpable                      as exec makes it            no, until exec
//	session                       worker: its own             its own (Cmd.KeepSession)
//	supplementary groups          none below a user namespace none
//	inheritable, ambient caps     kept                        none
//	bounding set, securebits      kept (Cmd.Capabilities)     kept (Cmd.Capabilities)
//	umask                         kept (Cmd.Umask)            022 (Cmd.Umask)
//	ignored signals               kept                        worker: none, program: kept
//	oom_score_adj                 kept (Cmd.OOMScoreAdj)      0 if it is negative (Cmd.OOMScoreAdj)
//	RLIMIT_CORE                   kept                        worker: 0
//	session keyring               new below a user namespace  new
//	nice, scheduling, other limits, no_new_privs, personality: kept
//
// The environment is in environment_linux.go.
type crossing struct {
	own
	user    bool        // a user namespace is joined
	protect bool        // somebody else may be root there
	top     launcher.FD // the first descriptor that is not the launcher's
	hold    bool        // wait until somebody has moved the launcher to its cgroup

	session bool // it has no session of its own yet, and must get one
	worker  bool

	oomScoreAdj *int // the one that was asked for
}

// ignorable are the signals that a program may have been started to ignore.
var ignorable = []unix.Signal{
	unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE, unix.SIGALRM, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2,
	unix.SIGCHLD, unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGWINCH,
}

// cross drops the state that must not go into the Set. It comes before all other steps: otherwise
// root inside might reach that state, or a path might lead to it (CVE-2024-21626).
func (l *launch) cross(c crossing) {
	l.forbids, l.protect, l.sheds = c.forbids, c.protect, c.sheds
	l.closeAll(c.top, c.own)
	if c.hold {
		l.Wait()
	}
	const path = "/proc/self/oom_score_adj" // path: launchers start at home, where self is right in every procfs
	// Before shield: until then, the launcher may write to its files in /proc.
	switch {
	case c.oomScoreAdj != nil:
		l.of("OOMScoreAdj", func() {
			f := l.Openat(launcher.FD(unix.AT_FDCWD), path, unix.O_WRONLY|unix.O_CLOEXEC)
			write := l.Write(f, strconv.Itoa(*c.oomScoreAdj))
			l.paths[f.Index()], l.paths[write.Index()] = path, path
			l.Close(f)
		})
	case c.protect && c.spared:
		f := l.Openat(launcher.FD(unix.AT_FDCWD), path, unix.O_WRONLY|unix.O_CLOEXEC).Tolerate(unix.ENOENT, unix.EACCES)
		l.Write(f, "0").Tolerate(unix.EBADF)
		l.Close(f).Tolerate(unix.EBADF)
	}
	l.shield(c)
	if !c.protect {
		return
	}
	if c.session {
		l.Setsid()
	}
	if !c.user { // otherwise joinUser does it, when it is allowed
		groups := l.Setgroups().Tolerate(unix.EPERM)
		if c.grouped {
			l.kept = groups
		}
	}
	l.ClearInheritable()
	l.Umask(0o022)
	if !c.worker {
		return
	}
	for _, sig := range ignorable {
		l.DefaultSignal(sig)
	}
	l.Prlimit(unix.RLIMIT_CORE, 0, 0) // limits that were asked for come later
}

// giveBack removes the lent capabilities of the launcher, before it becomes a program. In somebody
// else's Set, other steps have done so. Below a user namespace, the launcher has no capabilities of
// outside.
func (l *launch) giveBack(o own, user, protect bool) {
	if o.lent && !user && !protect {
		l.ClearInheritable()
	}
}

// lookAtOwn reads this process's state. Most of it matters only for launches into somebody else's
// Set.
func lookAtOwn(ctx context.Context, protect bool) (o own) {
	if o.forbids = lookAtFilters(ctx); o.forbids.closeRange {
		o.inherited = inherited()
	}
	o.lent = sys.Lendable() != 0
	groups, err := unix.Getgroups()
	o.grouped = err != nil || len(groups) > 0
	o.sheds = o.grouped && mayDropGroups()
	if !protect {
		return o
	}
	score, _ := procfs.ReadFile("self/oom_score_adj", 64)
	o.spared = strings.HasPrefix(score, "-")
	return o
}

// mayDropGroups says what the kernel would say to setgroups(2) outside (user_namespaces(7)).
func mayDropGroups() bool {
	caps, err := sys.ThreadCaps()
	if err != nil || !caps.Effective.Has(unix.CAP_SETGID) {
		return false
	}
	may, err := procfs.ReadFile("self/setgroups", 64)
	if err != nil || !strings.HasPrefix(may, "allow") {
		return false
	}
	mapped, err := procfs.ReadFile("self/gid_map", 64<<10)
	return err == nil && mapped != ""
}

// lookAtMaker is lookAtOwn with the state that matters to launchers which make namespaces or send
// descriptors.
func lookAtMaker(ctx context.Context, protect bool) own {
	o := lookAtOwn(ctx, protect)
	o.permitted = uint64(permitted(sys.Lendable()))
	o.mixed = os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid()
	var files unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) == nil && files.Cur < files.Max {
		o.hardFiles = files.Max
	}
	return o
}

// emptyRoot moves the launcher to a mnt namespace of its own that has one empty
// directory, which nobody can write to. It need not have been told its ids.
func (l *launch) emptyRoot(chrooted bool) {
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	const options = "size=4k,nr_inodes=2,mode=555"
	from := l.Len()
	l.Unshare(unix.CLONE_NEWNS)
	if chrooted {
		// The mount that the root is in may be shared with others. Changing that takes a path, and
		// no path leads to the mount. So nothing is mounted on it.
		root := l.Fsmount("tmpfs")
		l.Fchdir(root)
		l.Chroot(".")
		l.Close(root)
	} else {
		l.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		l.Mount("none", "/", "tmpfs", flags, options)
		l.Chdir("/..") // to the new mount; "/" is the directory below it
		// pivot_root(2) puts the old root on top of the new one, and it is unmounted from there.
		// The first root of a system cannot be moved: it stays below, and another empty mount is
		// unmounted in its place. The same happens where a filter forbids pivot_root, as Docker's
		// does. Only a filter gives EPERM here: a process that may mount, as above, may also move
		// the root.
		if l.forbids.pivotRoot {
			l.Chroot(".")
		} else {
			pivot := l.PivotRoot(".", ".").Tolerate(unix.EINVAL, unix.EPERM)
			l.Chroot(".").When(pivot)
			l.Mount("none", ".", "tmpfs", flags, options).When(pivot)
			l.Umount2(".", unix.MNT_DETACH)
		}
		l.Chdir("/")
	}
	for i := from; i < l.Len(); i++ {
		l.about[i] = unix.CLONE_NEWNS
	}
}
