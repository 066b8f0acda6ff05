package reexec

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	manyCaps  = regexp.MustCompile(`(?m)^.*if #\d+: .*PR_CAP_AMBIENT_RAISE, [1-9].*\n`)
	stepIndex = regexp.MustCompile(`(?m)^\d+ `)
)

// printed is the list, with one line for the raising of 41 capabilities and
// without the steps' own numbers.
func printed(l *launch) string {
	return stepIndex.ReplaceAllString(manyCaps.ReplaceAllString(l.List.String(), ""), "")
}

func compare(t *testing.T, l *launch, want string) {
	t.Helper()
	want = strings.ReplaceAll(strings.TrimLeft(want, "\n"), "\t", "")
	if got := printed(l); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := l.Encode(); err != nil {
		t.Errorf("it cannot be encoded: %v", err)
	}
}

const (
	becomesWorker = `
		dup3(6, 3, 0) = 3
		fcntl(4, F_SETFD, FD_CLOEXEC) = 0
		fcntl(7, F_SETFD, FD_CLOEXEC) = 0
		close(5) = 0
		close(6) = 0
		close_range(8, ~0, 0) = 0
		prctl(PR_SET_PDEATHSIG, 9) = 0
		execveat(7, "", argv, envp, AT_EMPTY_PATH)` + elsewhere + `
`
	// In somebody else's Set there is no other try, by path.
	elsewhere = ` or ENOENT
		execve("/proc/self/fd/7", argv, envp)`
	hides = `
		prctl(PR_SET_DUMPABLE, 0) = 0
		keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0 or ENOSYS`
	// What does not cross into somebody else's Set, with what is worth it for workers only.
	dropsCaps = `
		capget(self, caps) = 0
		prctl(PR_GET_PDEATHSIG, caps+8) = 0
		prctl(PR_GET_PDEATHSIG, caps+20) = 0
		capset(self, caps) = 0
		umask(022) >= 0`
	dropsAll  = "\n\t\tsetgroups(0, NULL) = 0 or EPERM" + dropsCaps
	asAtFirst = `
		rt_sigaction(SIGHUP, SIG_DFL, NULL, 8) = 0
		rt_sigaction(SIGINT, SIG_DFL, NULL, 8) = 0
		rt_sigaction(SIGQUIT, SIG_DFL, NULL, 8) = 0
		rt_sigaction(SIGPIPE, SIG_DFL, NULL, 8) = 0
		rt_sigaction(SIGALRM, SIG_DFL, NULL, 8) = 0
		rt_sigaction(SIGTERM, SIG_DFL, NULL, 8) = 0
		rt_sigaction(SIGUSR1, SIG_DFL, NULL, 8) = 0
		rt_sigaction(SIGUSR2, SIG_DFL, NULL, 8) = 0
		rt_sigaction(SIGCHLD, SIG_DFL, NULL, 8) = 0
		rt_sigaction(SIGCONT, SIG_DFL, NULL, 8) = 0
		rt_sigaction(SIGTSTP, SIG_DFL, NULL, 8) = 0
		rt_sigaction(SIGTTIN, SIG_DFL, NULL, 8) = 0
		rt_sigaction(SIGTTOU, SIG_DFL, NULL, 8) = 0
		rt_sigaction(SIGWINCH, SIG_DFL, NULL, 8) = 0
		prlimit64(0, 4, {0, 0}, NULL) = 0`
	triesNewKeyring = `
		keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0 or ENOSYS or EDQUOT`
)

// asRoot is joining with a user namespace among joins, from step at on: groups
// are dropped outside, and inside if that was refused.
func asRoot(at int, joins ...string) string {
	var b strings.Builder
	b.WriteString("\nsetgroups(0, NULL) = 0 or EPERM\n")
	for _, j := range joins {
		b.WriteString(j + "\n")
	}
	unmapped := at + 1 + len(joins) + 2
	fmt.Fprintf(&b, `if #%d: setgroups(0, NULL) = 0 or EPERM
		setresgid(0, 0, 0) = 0 or EINVAL
		setresuid(0, 0, 0) = 0 or EINVAL
		if #%d: capset(self, {0x1ffffffffff, 0x1ffffffffff, 0x1ffffffffff}) = 0
		if #%d: prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 0) = 0 or EINVAL`, at, unmapped, unmapped)
	return b.String()
}

// closesFirst is what every list begins with: nothing else is inherited.
func closesFirst(top int) string { return fmt.Sprintf("close_range(%d, ~0, 0) = 0\n", top) }

// goesOnInside is the way into a pid namespace, from step at on.
func goesOnInside(at int) string {
	return fmt.Sprintf(`
		clone(CLONE_PARENT|SIGCHLD, NULL, NULL, NULL, NULL) >= 0
		if #%d: writev(status, [reached, #%d], 2) = record
		if #%d: exit_group(0)
		read(control, scratch, 1) = 1`, at, at, at)
}

func TestComposeWorker(t *testing.T) {
	const (
		mnt, net, user, uts = unix.CLONE_NEWNS, unix.CLONE_NEWNET, unix.CLONE_NEWUSER, unix.CLONE_NEWUTS
	)
	for name, tt := range map[string]struct {
		joins   []Join
		protect bool
		keepIDs bool
		want    string
	}{
		"nothing": {nil, false, false, becomesWorker},
		"no user": {[]Join{{Type: net}, {Type: mnt}}, false, false, `
			setns(8, CLONE_NEWNET) = 0
			setns(9, CLONE_NEWNS) = 0` + becomesWorker},
		"no user, protected": {[]Join{{Type: net}, {Type: mnt}}, true, false, hides + dropsAll + asAtFirst + `
			setns(8, CLONE_NEWNET) = 0
			setns(9, CLONE_NEWNS) = 0` + becomesWorker},
		"user": {[]Join{{Type: user}, {Type: net}}, false, false, triesNewKeyring + asRoot(2,
			`setns(8, CLONE_NEWUSER) = 0`,
			`setns(9, CLONE_NEWNET) = 0`) + becomesWorker},
		"user, protected": {[]Join{{Type: user}, {Type: net}}, true, false, hides + dropsCaps + asAtFirst + asRoot(23,
			`setns(8, CLONE_NEWUSER) = 0`,
			`setns(9, CLONE_NEWNET) = 0`) + becomesWorker},
		"nested": {[]Join{{Type: uts}, {Type: user}, {Type: net}, {Type: user}, {Type: mnt}}, false, false, triesNewKeyring + asRoot(2,
			`setns(8, CLONE_NEWUTS) = 0`,
			`setns(9, CLONE_NEWUSER) = 0`,
			`setns(10, CLONE_NEWNET) = 0`,
			`setns(11, CLONE_NEWUSER) = 0`,
			`setns(12, CLONE_NEWNS) = 0`) + becomesWorker},
		"pid": {[]Join{{Type: user}, {Type: unix.CLONE_NEWPID}}, false, false, triesNewKeyring + asRoot(2,
			`setns(8, CLONE_NEWUSER) = 0`,
			`setns(9, CLONE_NEWPID) = 0`) + goesOnInside(50) + `
			setpgid(0, 0) = 0` + becomesWorker},
		"pid, no user": {[]Join{{Type: unix.CLONE_NEWPID}, {Type: mnt}}, false, false, `
			setns(8, CLONE_NEWPID) = 0
			setns(9, CLONE_NEWNS) = 0` + goesOnInside(3) + `
			setpgid(0, 0) = 0` + becomesWorker},
		"ids kept": {[]Join{{Type: user}, {Type: net}}, false, true, triesNewKeyring + `
			setgroups(0, NULL) = 0 or EPERM
			setns(8, CLONE_NEWUSER) = 0
			setns(9, CLONE_NEWNET) = 0
			if #2: setgroups(0, NULL) = 0 or EPERM` + becomesWorker},
		"owners unknown": {[]Join{{Type: net, MayFail: true}, {Type: mnt, MayFail: true}, {Type: user}, {Type: net, Again: true}, {Type: mnt, Again: true}}, true, false, hides + dropsCaps + asAtFirst + asRoot(23,
			`setns(8, CLONE_NEWNET) = 0 or EPERM`,
			`setns(9, CLONE_NEWNS) = 0 or EPERM`,
			`setns(10, CLONE_NEWUSER) = 0`,
			`if #24: setns(11, CLONE_NEWNET) = 0`,
			`if #25: setns(12, CLONE_NEWNS) = 0`) + becomesWorker},
	} {
		t.Run(name, func(t *testing.T) {
			want := strings.ReplaceAll(closesFirst(8+len(tt.joins))+tt.want, "\n\n", "\n")
			if tt.protect {
				want = strings.Replace(want, elsewhere, "", 1)
			}
			compare(t, composeWorker(&WorkerOptions{Protect: tt.protect, KeepIDs: tt.keepIDs}, workerLaunch{joins: tt.joins}), want)
		})
	}
}

func TestComposeWorkerAsAsked(t *testing.T) {
	const mnt, net = unix.CLONE_NEWNS, unix.CLONE_NEWNET
	o := &WorkerOptions{
		Dir: "/srv", Protect: true,
		Rlimits: []Rlimit{{unix.RLIMIT_CORE, 0, 0}, {unix.RLIMIT_NOFILE, 64, 128}},
	}
	begin := `
		close_range(10, ~0, 0) = 0
		read(control, scratch, 1) = 1` + hides + dropsAll + asAtFirst + `
		prlimit64(0, 4, {0, 0}, NULL) = 0
		prlimit64(0, 7, {64, 128}, NULL) = 0
		setns(8, CLONE_NEWNET) = 0`
	l := composeWorker(o, workerLaunch{joins: []Join{{Type: net}, {Type: mnt}}, hold: true, exe: "/helper"})
	compare(t, l, strings.TrimLeft(begin, "\n")+`
		setns(9, CLONE_NEWNS) = 0
		openat2(AT_FDCWD, "/srv", {O_PATH|O_DIRECTORY|O_CLOEXEC, RESOLVE_NO_MAGICLINKS}, 24) >= 0
		fchdir(#29) = 0
		close(#29) = 0`+strings.Replace(becomesWorker, elsewhere, "", 1))
	if n := l.List.Len(); l.paths[29] != "/srv" || l.paths[n-1] != "/helper" {
		t.Errorf("paths of steps: %v", l.paths)
	}
	// The namespace comes along as descriptor 5, and the directory is the calls' affair.
	compare(t, composeWorker(o, workerLaunch{joins: []Join{{Type: net}}, hold: true, mount: true}), strings.TrimLeft(begin, "\n")+
		strings.NewReplacer("close(5) = 0", "dup3(9, 5, 0) = 5", elsewhere, "").Replace(becomesWorker))
}

func TestComposeCreation(t *testing.T) {
	const (
		mnt, net, user = unix.CLONE_NEWNS, unix.CLONE_NEWNET, unix.CLONE_NEWUSER
		holds          = `
			write(status, reached, record) = record
			read(control, scratch, 1) = 1
`
	)
	// looks is how the launcher keeps, from step at on, nothing of procfs but its own namespaces.
	looks := func(at int) string {
		return fmt.Sprintf(`
			openat(7, "self/ns", O_DIRECTORY|O_CLOEXEC|O_PATH) >= 0
			dup3(#%d, 7, O_CLOEXEC) = 7
			close_range(8, ~0, 0) = 0
`, at)
	}
	sends := func(names ...string) string {
		var b strings.Builder
		var fds []string
		for i, name := range names {
			fds = append(fds, fmt.Sprint(8+i))
			fmt.Fprintf(&b, "\nopenat(7, %q, O_CLOEXEC) = %s", name, fds[i])
		}
		fmt.Fprintf(&b, "\nsendmsg(6, SCM_RIGHTS [%s], MSG_NOSIGNAL) = 1", strings.Join(fds, ", "))
		return b.String() + holds
	}
	// sendsOwn is that where nobody can look at the launcher's procfs.
	sendsOwn := func(names ...string) string {
		for i := range names {
			names[i] = "self/ns/" + names[i]
		}
		return sends(names...)
	}
	// becomesInit is the end of a list whose clone is step at.
	const emptied = `
			unshare(CLONE_NEWNS) = 0
			mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL) = 0
			mount("none", "/", "tmpfs", MS_RDONLY|MS_NOSUID|MS_NODEV|MS_NOEXEC, "size=4k,nr_inodes=2,mode=555") = 0
			chdir("/..") = 0
			pivot_root(".", ".") = 0 or EINVAL or EPERM
			if #%[1]d: chroot(".") = 0
			if #%[1]d: mount("none", ".", "tmpfs", MS_RDONLY|MS_NOSUID|MS_NODEV|MS_NOEXEC, "size=4k,nr_inodes=2,mode=555") = 0
			umount2(".", MNT_DETACH) = 0
			chdir("/") = 0`
	// becomesInit is the end of a list, from step at on, as what a root is made of says.
	becomesInit := func(at int, before, original, init string) string {
		if before != "" {
			before = fmt.Sprintf(before, at+5+4)
		}
		clone := at + 5 + strings.Count(before, "\n")
		if original != "" {
			lines := strings.Split(strings.TrimSpace(fmt.Sprintf(original, clone+10)), "\n")
			for i, line := range lines {
				if line = strings.TrimSpace(line); !strings.HasPrefix(line, "if") {
					line = fmt.Sprintf("if #%d: %s", clone, line)
				}
				lines[i] = line
			}
			original = "\n" + strings.Join(lines, "\n")
			init = fmt.Sprintf(init, clone+30)
		}
		return fmt.Sprintf(`close_range(8, ~0, 0) = 0
			close(5) = 0
			close(0) = 0
			close(1) = 0
			close(2) = 0%[1]s
			clone(SIGCHLD, NULL, NULL, NULL, NULL) >= 0
			if #%[3]d: openat(7, "pid_for_children", O_CLOEXEC) = 0
			if #%[3]d: sendmsg(6, SCM_RIGHTS [0], MSG_NOSIGNAL) = 1
			if #%[3]d: close(0) = 0
			if #%[3]d: close(6) = 0
			if #%[3]d: close(7) = 0%[2]s
			if #%[3]d: write(status, reached, record) = record
			if #%[3]d: prctl(PR_SET_DUMPABLE, 0) = 0
			if #%[3]d: wait4(-1, NULL, 0, NULL) >= 0 or ECHILD
			if #%[3]d: exit_group(0)
			prctl(PR_SET_DUMPABLE, 0) = 0
			close(6) = 0
			close(7) = 0
			prctl(PR_SET_PDEATHSIG, 9) = 0
			rt_sigaction(SIGCHLD, SIG_IGN, NULL, 8) = 0`, before, original, clone) + init + holds
	}
	const pid, time, freshProc = unix.CLONE_NEWPID, unix.CLONE_NEWTIME, `
			mount("none", "/proc", NULL, MS_REC|MS_PRIVATE, NULL) = 0 or EINVAL
			mount("proc", "/proc", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, NULL) = 0 or EBUSY`
	nested := []Join{{Type: user}, {Type: net}}
	for name, tt := range map[string]struct {
		c        Creation
		dumpable bool
		want     string
	}{
		"plain user":      {Creation{Unshare: user}, true, `unshare(CLONE_NEWUSER) = 0` + sendsOwn("user")},
		"root":            {Creation{Unshare: user}, false, `unshare(CLONE_NEWUSER) = 0` + sendsOwn("user")},
		"several at once": {Creation{Unshare: user | net}, false, `unshare(CLONE_NEWNET|CLONE_NEWUSER) = 0` + sendsOwn("net", "user")},
		"slave": {Creation{Unshare: user | mnt, Propagation: unix.MS_REC | unix.MS_SLAVE}, false, `
			unshare(CLONE_NEWNS|CLONE_NEWUSER) = 0
			mount(NULL, "/", NULL, MS_REC|MS_SLAVE, NULL) = 0` + sendsOwn("mnt", "user")},
		"private": {Creation{Unshare: user | mnt, Propagation: unix.MS_REC | unix.MS_PRIVATE}, false, `
			unshare(CLONE_NEWNS|CLONE_NEWUSER) = 0
			mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL) = 0` + sendsOwn("mnt", "user")},
		"propagation unchanged": {Creation{Unshare: user | mnt}, false, `unshare(CLONE_NEWNS|CLONE_NEWUSER) = 0` + sendsOwn("mnt", "user")},
		"nested": {Creation{Unshare: user, Join: nested}, false, triesNewKeyring + asRoot(2,
			`setns(8, CLONE_NEWUSER) = 0`,
			`setns(9, CLONE_NEWNET) = 0`) + looks(50) + `
			unshare(CLONE_NEWUSER) = 0` + sends("user")},
		"nested, plain user": {Creation{Unshare: user, Join: nested[:1]}, true, triesNewKeyring + asRoot(2,
			`setns(8, CLONE_NEWUSER) = 0`) + looks(49) + `
			prctl(PR_SET_DUMPABLE, 1) = 0
			unshare(CLONE_NEWUSER) = 0` + sends("user")},
		"protected": {Creation{Unshare: user, Join: nested[1:], Protect: true}, false, hides + dropsAll + `
			setns(8, CLONE_NEWNET) = 0` + looks(10) + `
			unshare(CLONE_NEWUSER) = 0` + sends("user")},
		"pid": {Creation{Unshare: pid}, false, looks(1) + `unshare(CLONE_NEWPID) = 0` + holds + becomesInit(7, emptied, "", "")},
		"pid and time with a fresh /proc": {Creation{Unshare: user | pid | time | mnt, Propagation: unix.MS_PRIVATE, Fresh: []Fresh{{"proc", "/proc"}}}, false, looks(1) + `
			unshare(CLONE_NEWNS|CLONE_NEWPID|CLONE_NEWTIME|CLONE_NEWUSER) = 0
			mount(NULL, "/", NULL, MS_PRIVATE, NULL) = 0` + sends("mnt", "time_for_children", "user") + becomesInit(12, "", emptied, freshProc+emptied)},
		"pid below another": {Creation{Unshare: pid, Join: []Join{{Type: pid}}}, false,
			`setns(8, CLONE_NEWPID) = 0` + goesOnInside(2) + looks(6) + `
			unshare(CLONE_NEWPID) = 0` + holds + becomesInit(12, emptied, "", "")},
		"/proc of an existing pid": {Creation{Unshare: mnt, Join: []Join{{Type: pid}}, Fresh: []Fresh{{"proc", "/proc"}}}, false,
			`setns(8, CLONE_NEWPID) = 0` + goesOnInside(2) + looks(6) + `
			unshare(CLONE_NEWNS) = 0` + sends("mnt") + strings.TrimLeft(freshProc, "\n") + "\n"},
		"loopback": {Creation{Unshare: net, LoopbackUp: true}, false, `
			unshare(CLONE_NEWNET) = 0
			socket(AF_UNIX, SOCK_DGRAM|SOCK_CLOEXEC, 0) >= 0
			ioctl(#2, SIOCSIFFLAGS, {"lo", IFF_UP}) = 0
			close(#2) = 0` + sendsOwn("net")},
		// Whoever is inside can look at it once it is dumpable: it has nothing by then.
		"protected, plain user": {Creation{Unshare: user, Join: nested[:1], Protect: true}, true, hides + dropsCaps + asRoot(8,
			`setns(8, CLONE_NEWUSER) = 0`) + looks(55) + fmt.Sprintf(emptied, 62) + `
			prctl(PR_SET_DUMPABLE, 1) = 0
			unshare(CLONE_NEWUSER) = 0` + sends("user")},
	} {
		t.Run(name, func(t *testing.T) {
			compare(t, composeCreation(&tt.c, tt.dumpable, false), strings.ReplaceAll(closesFirst(8+len(tt.c.Join))+tt.want, "\n\n", "\n"))
		})
	}
}

// The kernel refuses gid_map where setgroups is not denied yet.
func TestComposeMapper(t *testing.T) {
	join := Join{Type: unix.CLONE_NEWUSER}
	for name, tt := range map[string]struct {
		c    Creation
		want string
	}{
		"everything": {Creation{UIDMap: "0 1 2\n", GIDMap: "0 3 4\n", DenySetgroups: true, Protect: true}, "close_range(8, ~0, 0) = 0" + hides + "\n\t\tsetsid() >= 0" + dropsCaps + `
			setns(6, CLONE_NEWUSER) = 0
			openat(7, "setgroups", O_WRONLY) >= 0
			write(#10, "deny", 4) = 4
			close(#10) = 0
			openat(7, "uid_map", O_WRONLY) >= 0
			write(#13, "0 1 2\n", 6) = 6
			close(#13) = 0
			openat(7, "gid_map", O_WRONLY) >= 0
			write(#16, "0 3 4\n", 6) = 6
			close(#16) = 0
`},
		"only gids": {Creation{GIDMap: "0 3 4\n"}, "close_range(8, ~0, 0) = 0" + triesNewKeyring + `
			setns(6, CLONE_NEWUSER) = 0
			openat(7, "gid_map", O_WRONLY) >= 0
			write(#3, "0 3 4\n", 6) = 6
			close(#3) = 0
`},
	} {
		t.Run(name, func(t *testing.T) { compare(t, composeMapper(&tt.c, join), tt.want) })
	}
}

// The kernel demands setgroups before gid_map.
func TestMapFilesOrder(t *testing.T) {
	for _, tt := range []struct {
		c    Creation
		want string
	}{
		{Creation{}, ""},
		{Creation{DenySetgroups: true}, "setgroups=deny"},
		{Creation{UIDMap: "u", GIDMap: "g"}, "uid_map=u gid_map=g"},
		{Creation{ClockOffsets: "o"}, "timens_offsets=o"},
		{Creation{UIDMap: "u", GIDMap: "g", DenySetgroups: true}, "setgroups=deny uid_map=u gid_map=g"},
	} {
		var got []string
		for _, m := range tt.c.procFiles() {
			got = append(got, m.name+"="+m.content)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%+v: %s, want %s", tt.c, s, tt.want)
		}
	}
}

// Every step that is about a namespace can be told by its type.
func TestStepsKnowTheirType(t *testing.T) {
	l := composeWorker(&WorkerOptions{Protect: true}, workerLaunch{joins: []Join{{Type: unix.CLONE_NEWUSER}, {Type: unix.CLONE_NEWNET}}})
	if l.about[24] != unix.CLONE_NEWUSER || l.about[25] != unix.CLONE_NEWNET {
		t.Errorf("%v of\n%v", l.about, printed(l))
	}
	l = composeCreation(&Creation{Unshare: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, Propagation: unix.MS_PRIVATE}, false, false)
	if l.about[1] != unix.CLONE_NEWUSER|unix.CLONE_NEWNS || l.about[2] != unix.CLONE_NEWNS {
		t.Errorf("%v of\n%v", l.about, printed(l))
	}
}
