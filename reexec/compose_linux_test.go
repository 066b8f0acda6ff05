package reexec

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var (
	manyCaps  = regexp.MustCompile(`(?m)^.*PR_CAP_AMBIENT_RAISE, [1-9].*\n`)
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
		execveat(7, "", argv, envp, AT_EMPTY_PATH) or ENOENT
		execve("/proc/self/fd/7", argv, envp)
`
	hides = `
		prctl(PR_SET_DUMPABLE, 0) = 0
		keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0 or ENOSYS`
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
		if #%d: capset(self, 0x1ffffffffff) = 0
		if #%d: prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 0) = 0 or EINVAL`, at, unmapped, unmapped)
	return b.String()
}

// goesOnInside is the way into a pid namespace, from step at on.
func goesOnInside(at int) string {
	return fmt.Sprintf(`
		clone(CLONE_PARENT|SIGCHLD, NULL, NULL, NULL, NULL) >= 0
		if #%d: writev(status, [reached, #%d], 2) = 16
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
		"no user, protected": {[]Join{{Type: net}, {Type: mnt}}, true, false, hides + `
			setns(8, CLONE_NEWNET) = 0
			setns(9, CLONE_NEWNS) = 0` + becomesWorker},
		"user": {[]Join{{Type: user}, {Type: net}}, false, false, triesNewKeyring + asRoot(1,
			`setns(8, CLONE_NEWUSER) = 0`,
			`setns(9, CLONE_NEWNET) = 0`) + becomesWorker},
		"user, protected": {[]Join{{Type: user}, {Type: net}}, true, false, hides + asRoot(2,
			`setns(8, CLONE_NEWUSER) = 0`,
			`setns(9, CLONE_NEWNET) = 0`) + becomesWorker},
		"nested": {[]Join{{Type: uts}, {Type: user}, {Type: net}, {Type: user}, {Type: mnt}}, false, false, triesNewKeyring + asRoot(1,
			`setns(8, CLONE_NEWUTS) = 0`,
			`setns(9, CLONE_NEWUSER) = 0`,
			`setns(10, CLONE_NEWNET) = 0`,
			`setns(11, CLONE_NEWUSER) = 0`,
			`setns(12, CLONE_NEWNS) = 0`) + becomesWorker},
		"pid": {[]Join{{Type: user}, {Type: unix.CLONE_NEWPID}}, false, false, triesNewKeyring + asRoot(1,
			`setns(8, CLONE_NEWUSER) = 0`,
			`setns(9, CLONE_NEWPID) = 0`) + goesOnInside(49) + `
			setpgid(0, 0) = 0` + becomesWorker},
		"pid, no user": {[]Join{{Type: unix.CLONE_NEWPID}, {Type: mnt}}, false, false, `
			setns(8, CLONE_NEWPID) = 0
			setns(9, CLONE_NEWNS) = 0` + goesOnInside(2) + `
			setpgid(0, 0) = 0` + becomesWorker},
		"ids kept": {[]Join{{Type: user}, {Type: net}}, false, true, triesNewKeyring + `
			setgroups(0, NULL) = 0 or EPERM
			setns(8, CLONE_NEWUSER) = 0
			setns(9, CLONE_NEWNET) = 0
			if #1: setgroups(0, NULL) = 0 or EPERM` + becomesWorker},
		"owners unknown": {[]Join{{Type: net, MayFail: true}, {Type: mnt, MayFail: true}, {Type: user}, {Type: net, Again: true}, {Type: mnt, Again: true}}, true, false, hides + asRoot(2,
			`setns(8, CLONE_NEWNET) = 0 or EPERM`,
			`setns(9, CLONE_NEWNS) = 0 or EPERM`,
			`setns(10, CLONE_NEWUSER) = 0`,
			`if #3: setns(11, CLONE_NEWNET) = 0`,
			`if #4: setns(12, CLONE_NEWNS) = 0`) + becomesWorker},
	} {
		t.Run(name, func(t *testing.T) {
			compare(t, composeWorker(&WorkerOptions{Protect: tt.protect, KeepIDs: tt.keepIDs}, workerLaunch{joins: tt.joins}), strings.ReplaceAll(tt.want, "\n\n", "\n"))
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
		read(control, scratch, 1) = 1` + hides + `
		prlimit64(0, 4, {0, 0}, NULL) = 0
		prlimit64(0, 7, {64, 128}, NULL) = 0
		setns(8, CLONE_NEWNET) = 0`
	l := composeWorker(o, workerLaunch{joins: []Join{{Type: net}, {Type: mnt}}, hold: true, exe: "/helper"})
	compare(t, l, strings.TrimLeft(begin, "\n")+`
		setns(9, CLONE_NEWNS) = 0
		chdir("/srv") = 0`+becomesWorker)
	if n := l.List.Len(); l.paths[7] != "/srv" || l.paths[n-1] != "/helper" || l.paths[n-2] != "/helper" {
		t.Errorf("paths of steps: %v", l.paths)
	}
	// The namespace comes along as descriptor 5, and the directory is the calls' affair.
	compare(t, composeWorker(o, workerLaunch{joins: []Join{{Type: net}}, hold: true, mount: true}), strings.TrimLeft(begin, "\n")+
		strings.Replace(becomesWorker, "close(5) = 0", "dup3(9, 5, 0) = 5", 1))
}

func TestComposeCreation(t *testing.T) {
	const (
		mnt, net, user = unix.CLONE_NEWNS, unix.CLONE_NEWNET, unix.CLONE_NEWUSER
		holds          = `
			write(status, reached, 16) = 16
			read(control, scratch, 1) = 1
`
	)
	// becomesInit is the end of a list whose clone is step at.
	becomesInit := func(at int, steps string) string {
		return fmt.Sprintf(`close(5) = 0
			close_range(6, ~0, 0) = 0
			chdir("/") = 0
			clone(SIGCHLD, NULL, NULL, NULL, NULL) >= 0
			if #%d: wait4(-1, NULL, 0, NULL) >= 0 or ECHILD
			if #%d: exit_group(0)
			prctl(PR_SET_PDEATHSIG, 9) = 0
			rt_sigaction(SIGCHLD, SIG_IGN, NULL, 8) = 0`, at, at) + steps + holds
	}
	const pid, time, freshProc = unix.CLONE_NEWPID, unix.CLONE_NEWTIME, `
			mount("none", "/proc", NULL, MS_REC|MS_PRIVATE, NULL) = 0 or EINVAL
			mount("proc", "/proc", "proc", MS_NOSUID|MS_NODEV|MS_NOEXEC, NULL) = 0`
	nested := []Join{{Type: user}, {Type: net}}
	for name, tt := range map[string]struct {
		c        Creation
		dumpable bool
		want     string
	}{
		"plain user":      {Creation{Unshare: user}, true, `unshare(CLONE_NEWUSER) = 0` + holds},
		"root":            {Creation{Unshare: user}, false, `unshare(CLONE_NEWUSER) = 0` + holds},
		"several at once": {Creation{Unshare: user | net}, false, `unshare(CLONE_NEWNET|CLONE_NEWUSER) = 0` + holds},
		"slave": {Creation{Unshare: user | mnt, Propagation: unix.MS_REC | unix.MS_SLAVE}, false, `
			unshare(CLONE_NEWNS|CLONE_NEWUSER) = 0
			mount(NULL, "/", NULL, MS_REC|MS_SLAVE, NULL) = 0` + holds},
		"private": {Creation{Unshare: user | mnt, Propagation: unix.MS_REC | unix.MS_PRIVATE}, false, `
			unshare(CLONE_NEWNS|CLONE_NEWUSER) = 0
			mount(NULL, "/", NULL, MS_REC|MS_PRIVATE, NULL) = 0` + holds},
		"propagation unchanged": {Creation{Unshare: user | mnt}, false, `unshare(CLONE_NEWNS|CLONE_NEWUSER) = 0` + holds},
		"nested": {Creation{Unshare: user, Join: nested}, false, triesNewKeyring + asRoot(1,
			`setns(6, CLONE_NEWUSER) = 0`,
			`setns(7, CLONE_NEWNET) = 0`) + `
			unshare(CLONE_NEWUSER) = 0` + holds},
		"nested, plain user": {Creation{Unshare: user, Join: nested[:1]}, true, triesNewKeyring + asRoot(1,
			`setns(6, CLONE_NEWUSER) = 0`) + `
			prctl(PR_SET_DUMPABLE, 1) = 0
			unshare(CLONE_NEWUSER) = 0` + holds},
		"protected": {Creation{Unshare: user, Join: nested[1:], Protect: true}, false, hides + `
			setns(6, CLONE_NEWNET) = 0
			unshare(CLONE_NEWUSER) = 0` + holds},
		"pid": {Creation{Unshare: pid}, false, `unshare(CLONE_NEWPID) = 0` + holds + becomesInit(6, "")},
		"pid and time with a fresh /proc": {Creation{Unshare: user | pid | time | mnt, Propagation: unix.MS_PRIVATE, MountProc: true}, false, `
			unshare(CLONE_NEWNS|CLONE_NEWPID|CLONE_NEWTIME|CLONE_NEWUSER) = 0
			mount(NULL, "/", NULL, MS_PRIVATE, NULL) = 0` + holds + becomesInit(7, freshProc)},
		"pid below another": {Creation{Unshare: pid, Join: []Join{{Type: pid}}}, false,
			`setns(6, CLONE_NEWPID) = 0` + goesOnInside(1) + `
			unshare(CLONE_NEWPID) = 0` + holds + becomesInit(11, "")},
		"/proc of an existing pid": {Creation{Unshare: mnt, Join: []Join{{Type: pid}}, MountProc: true}, false,
			`setns(6, CLONE_NEWPID) = 0` + goesOnInside(1) + `
			unshare(CLONE_NEWNS) = 0` + holds + strings.TrimLeft(freshProc, "\n") + "\n"},
		"loopback": {Creation{Unshare: net, LoopbackUp: true}, false, `
			unshare(CLONE_NEWNET) = 0
			socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, 0) >= 0
			ioctl(#1, SIOCSIFFLAGS, {"lo", IFF_UP}) = 0
			close(#1) = 0` + holds},
		// Its files in /proc would be root's.
		"protected, plain user": {Creation{Unshare: user, Join: nested[1:], Protect: true}, true, `
			keyctl(KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0 or ENOSYS
			setns(6, CLONE_NEWNET) = 0
			unshare(CLONE_NEWUSER) = 0` + holds},
	} {
		t.Run(name, func(t *testing.T) {
			compare(t, composeCreation(&tt.c, tt.dumpable, false), tt.want)
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
		"everything": {Creation{UIDMap: "0 1 2\n", GIDMap: "0 3 4\n", DenySetgroups: true, Protect: true}, hides + `
			setns(6, CLONE_NEWUSER) = 0
			openat(AT_FDCWD, "/proc/77/setgroups", O_WRONLY) >= 0
			write(#3, "deny", 4) = 4
			close(#3) = 0
			openat(AT_FDCWD, "/proc/77/uid_map", O_WRONLY) >= 0
			write(#6, "0 1 2\n", 6) = 6
			close(#6) = 0
			openat(AT_FDCWD, "/proc/77/gid_map", O_WRONLY) >= 0
			write(#9, "0 3 4\n", 6) = 6
			close(#9) = 0
`},
		"only gids": {Creation{GIDMap: "0 3 4\n"}, triesNewKeyring + `
			setns(6, CLONE_NEWUSER) = 0
			openat(AT_FDCWD, "/proc/77/gid_map", O_WRONLY) >= 0
			write(#2, "0 3 4\n", 6) = 6
			close(#2) = 0
`},
	} {
		t.Run(name, func(t *testing.T) { compare(t, composeMapper(&tt.c, join, 77), tt.want) })
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
	if l.about[3] != unix.CLONE_NEWUSER || l.about[4] != unix.CLONE_NEWNET {
		t.Errorf("%v of\n%v", l.about, printed(l))
	}
	l = composeCreation(&Creation{Unshare: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, Propagation: unix.MS_PRIVATE}, false, false)
	if l.about[0] != unix.CLONE_NEWUSER|unix.CLONE_NEWNS || l.about[1] != unix.CLONE_NEWNS {
		t.Errorf("%v of\n%v", l.about, printed(l))
	}
}
