package isolation

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

// For each way in which a machine forbids: the calls that it refuses say what it is and what to do, Probe says the same of
// them, and everything else works as it does without. testdata/forbidden does the calls, and asks Probe, on each machine.

// acts are what is done on each machine.
var acts = []string{"calls", "probe"}

// refusals are what a machine has done to some calls, and to the checks of Probe that are called the same.
type refusals struct {
	of    func(call string) bool
	words []string // that each of them has
	never []string // that none has
}

const inUser = ", in a user namespace"

// The calls of testdata/forbidden and the checks of Probe, by what they take.
var (
	privileged = calls("cgroup", "ipc", "mnt", "net", "pid", "time", "uts", "closures", "pin")
	subids     = calls("subordinate ids", "two ids")
	works      = calls("worker"+inUser, "overlay"+inUser, "command", "command in pid") // in a Set with a user namespace
	withUser   = calls("user", "subordinate ids", "two ids", "command", "command in pid").and(func(c string) bool { return strings.HasSuffix(c, inUser) })
	mounting   = calls("mnt", "pid", "mnt"+inUser, "pid"+inUser, "new /proc"+inUser, "overlay"+inUser, "command in pid")
	launched   = withUser.and(calls("pid", "time")) // by a launcher, and not on a thread
)

type set func(call string) bool

func calls(names ...string) set { return func(c string) bool { return slices.Contains(names, c) } }

func (s set) and(other set) set     { return func(c string) bool { return s(c) || other(c) } }
func (s set) without(other set) set { return func(c string) bool { return s(c) && !other(c) } }

// matrix compares what was said on a machine with what is said where nothing is forbidden.
func matrix(t *testing.T, lines, free map[string]string, forbidden ...refusals) {
	t.Helper()
	agree(t, lines)
	if len(free) < 40 {
		t.Fatalf("on a free machine: %q", free)
	}
	for what, came := range lines {
		call := strings.TrimPrefix(what, "probe ")
		kind, _, _ := strings.Cut(what, " ")
		if kind == "hint" || kind == "fact" || kind == "slow" {
			continue
		}
		i := slices.IndexFunc(forbidden, func(r refusals) bool { return r.of(call) })
		switch was := free[what]; {
		case i < 0 && (allowed(came) != allowed(was) || lines["hint of "+what] != free["hint of "+what]):
			t.Errorf("%s, which is not touched: %q, and without %q", what, came, was)
		case i < 0:
		case allowed(came):
			t.Errorf("%s: %q", what, came)
		default:
			hints(t, lines, map[string][]string{what: forbidden[i].words}, forbidden[i].never...)
		}
	}
}

func allowed(came string) bool { return came == "ok" || came == "yes" }

var number = regexp.MustCompile(`[0-9]+ processes`)

// agree wants of calls what Probe says of them, by the same hint.
func agree(t *testing.T, lines map[string]string) {
	t.Helper()
	n := 0
	for what, came := range lines {
		probed, both := lines["probe "+what]
		if !both {
			continue
		}
		n++
		hint, same := lines["hint of "+what], lines["hint of probe "+what]
		switch {
		case allowed(came) != allowed(probed):
			t.Errorf("%s: %q, and Probe: %q", what, came, probed)
		case number.ReplaceAllString(hint, "") != number.ReplaceAllString(same, ""):
			t.Errorf("%s: the hint is %q, and that of Probe %q", what, hint, same)
		case !allowed(came) && (hint == "" || !strings.Contains(probed, same)):
			t.Errorf("%s: no hint in %q, %q", what, came, probed)
		}
	}
	if n < 14 {
		t.Errorf("%d calls are checks of Probe: %q", n, lines)
	}
}

// byUser: it is a plain user who runs the tests.
func byUser() bool { return os.Geteuid() != 0 }

// filters have one call forbidden, and answer EPERM or ENOSYS.
func TestFilterOfOneCallIsNamed(t *testing.T) {
	needUserNS(t)
	run := forbidden(t)
	free := run(t, append([]string{"-filter", "nothing"}, acts...)...)
	all := privileged.and(withUser).without(calls("subordinate ids"))
	if byUser() { // no_new_privs, which comes with the filter, forbids them before that
		all = all.without(subids)
	}
	byUnshare, byMount, bySetns := all, mounting, works.and(calls("closures"))
	if byUser() { // CAP_SYS_ADMIN, which is asked for before, is what privileged ones lack
		byMount, bySetns = byMount.without(privileged), works
	}
	for call, refused := range map[string]set{
		"unshare": byUnshare, "setns": bySetns, "mount": byMount, "fsmount": calls("pin"), "clone": nil, "clone3": nil, "keyctl": nil,
		"memfd_create": nil, "execveat": nil, "close_range": nil, "pidfd_open": nil, "openat2": nil, "pivot_root": nil,
	} {
		for errno, words := range map[string][]string{
			"1":  {"operation not permitted", "seccomp filter is active", "--security-opt seccomp=FILE"},
			"38": {"function not implemented", "seccomp) forbids ", "--security-opt seccomp=FILE"},
		} {
			t.Run(call+" answers "+errno, func(t *testing.T) {
				lines := run(t, append([]string{"-filter", call, "-errno", errno}, acts...)...)
				of := refused
				switch {
				case of == nil || byUser() && call == "fsmount":
					matrix(t, lines, free)
					return
				case byUser() && call == "unshare" && errno == "1":
					of = of.without(privileged)
				}
				matrix(t, lines, free, refusals{of, words, []string{"built without", "AppArmor", "landlock", "parts of /proc", "needs CAP_SYS_ADMIN", "takes CAP_SYS_ADMIN"}})
			})
		}
	}
}

// inOwn is a command in a user namespace of its own, whose sysctls it may set before.
func inOwn(t *testing.T, path, set string, args ...string) *exec.Cmd {
	t.Helper()
	needUserNS(t)
	needTool(t, "tools", "unshare")
	return exec.Command("unshare", append([]string{"--user", "--map-root-user", "sh", "-e", "-c", set + ` exec "$0" "$@"`, path}, args...)...)
}

func TestSysctlThatAllowsNoNamespacesIsNamed(t *testing.T) {
	path := forbiddenPath(t)
	free := said(t, inOwn(t, path, "", acts...))
	for name, of := range map[string]set{
		"user": withUser.without(calls("subordinate ids")), // these fail before that, for want of ranges
		"net":  calls("net", "net"+inUser),
		"mnt":  mounting, // what keeps a pid namespace has no mounts of the host's
		"pid":  calls("pid", "pid"+inUser, "new /proc"+inUser, "command in pid"), "time": calls("time", "time"+inUser),
		"uts": calls("uts", "uts"+inUser, "closures", "pin"), "ipc": calls("ipc", "ipc"+inUser), "cgroup": calls("cgroup", "cgroup"+inUser),
	} {
		t.Run(name, func(t *testing.T) {
			sysctl := "user.max_" + name + "_namespaces"
			lines := said(t, inOwn(t, path, "echo 0 >/proc/sys/user/max_"+name+"_namespaces;", acts...))
			matrix(t, lines, free, refusals{of,
				[]string{"no space left on device", "the sysctl " + sysctl + " is 0", "sysctl -w " + sysctl + "="}, []string{"possibly", "mount-max", "nested"}})
			if lines["fact "+sysctl] != "0" {
				t.Errorf("the fact: %q", lines["fact "+sysctl])
			}
		})
	}
}

// Debian's kernels have a switch. It is set where the machine is nobody's but the test's.
func TestSwitchOfDebianIsNamed(t *testing.T) {
	needRoot(t)
	const file = "/proc/sys/kernel/unprivileged_userns_clone"
	_, err := os.Stat(file)
	if err == nil && !testenv.Emulated {
		err = fmt.Errorf("%s is for all of this machine, and it is no guest of integration/scripts/kernels.sh", file)
	}
	need(t, "userns_clone", err)
	needTool(t, "tools", "setpriv")
	path := openBuild(t)
	run := func() map[string]string {
		return said(t, exec.Command("setpriv", append([]string{"--reuid", "65534", "--regid", "65534", "--clear-groups", "--", path}, acts...)...))
	}
	free := run()
	was, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte("0"), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(file, was, 0); err != nil {
			t.Error(err)
		}
	})
	words := []string{"kernel.unprivileged_userns_clone is 0", "sysctl -w kernel.unprivileged_userns_clone=1"}
	matrix(t, run(), free, refusals{withUser.without(subids).and(privileged), words, []string{"possibly", "seccomp"}})
	if lines := said(t, exec.Command(path, "unshare=user,net")); lines["unshare=user,net"] != "ok" {
		t.Errorf("root: %q", lines)
	}
}

// account makes uid 64001 a user who has subordinate ids, by files in a directory.
const account = `(cat /etc/passwd; echo gonso-forbid:x:64001:64001::/:/bin/sh) >"$1/passwd"
	echo gonso-forbid:100000:65536 >"$1/subid"
	mount --bind "$1/passwd" /etc/passwd
	mount --bind "$1/subid" /etc/subuid
	mount --bind "$1/subid" /etc/subgid
	`

// users is a script of root's, and then the program as a user who has subordinate ids. The script finds a directory of
// its own in $1.
func users(t *testing.T, path, script string, wrap []string, args ...string) *exec.Cmd {
	t.Helper()
	needUserNS(t)
	needTool(t, "subids", "newuidmap")
	const as = `
		shift
		exec "$@"`
	all := append([]string{t.TempDir(), "setpriv", "--reuid", "64001", "--regid", "64001", "--clear-groups"}, wrap...)
	return apart(t, account+script+as, append(append(all, path), args...)...)
}

func TestNoNewPrivsIsNamed(t *testing.T) {
	needRoot(t)
	path := openPath(t)
	free := said(t, users(t, path, "", nil, acts...))
	lines := said(t, users(t, path, "", []string{"--no-new-privs"}, acts...))
	matrix(t, lines, free, refusals{subids,
		[]string{"newuidmap", "no_new_privs is set", "NoNewPrivileges= of systemd"}, []string{"possibly", "setuid root nor"}})
	if lines["fact no_new_privs"] != "1" {
		t.Errorf("the fact: %q", lines["fact no_new_privs"])
	}
}

func TestDroppedCapabilitiesAreNamed(t *testing.T) {
	needRoot(t)
	testenv.Need(t, testenv.Host)
	needUserNS(t)
	needTool(t, "tools", "setpriv")
	path := openPath(t)
	free := said(t, exec.Command(path, acts...))
	const give = "docker run --cap-add"
	t.Run("all", func(t *testing.T) {
		lines := said(t, without("all", path, acts...))
		if lines["user"] == "ok" { // before Linux 5.12
			matrix(t, lines, free, refusals{privileged, []string{"it needs CAP_SYS_ADMIN", "make a user namespace along"}, []string{"possibly"}},
				refusals{subids, []string{"bounding set of this process lacks CAP_SETUID", give}, []string{"possibly"}})
			return
		}
		matrix(t, lines, free, refusals{subids, []string{"bounding set of this process lacks CAP_SETUID", give}, []string{"possibly"}},
			refusals{privileged.and(withUser), []string{"CAP_SETFCAP", give}, []string{"possibly", "seccomp"}})
	})
	t.Run("but Docker's", func(t *testing.T) {
		var list []string
		for _, c := range dockersCapabilities {
			list = append(list, "+"+strings.ToLower(strings.TrimPrefix(c, "CAP_")))
		}
		bounds := "-all," + strings.Join(list, ",")
		lines := said(t, exec.Command("setpriv", append([]string{"--bounding-set", bounds, "--inh-caps", "-all", "--", path}, acts...)...))
		matrix(t, lines, free, refusals{privileged, []string{"it needs CAP_SYS_ADMIN", "make a user namespace along with it"}, []string{"possibly", "seccomp", "refused, too"}})
	})
}

// In a container of Docker's, by runc, with its filter and its capabilities, Probe says what calls say.
func TestContainersProbeSaysWhatItsCallsSay(t *testing.T) {
	b := dockersBox(t)
	lines := said(t, b.exec(append([]string{"/bin/forbidden"}, acts...)...))
	hints(t, lines, map[string][]string{
		"net": {"it needs CAP_SYS_ADMIN"}, "user": {"possibly a seccomp filter is active", "--security-opt seccomp=FILE"},
		"probe net": {"it needs CAP_SYS_ADMIN"}, "probe overlay" + inUser: {"possibly a seccomp filter is active"},
	}, "built without", "nested")
	agree(t, lines)
	if lines["fact seccomp filter"] != "yes" {
		t.Errorf("the fact: %q", lines["fact seccomp filter"])
	}
}

// newuidmap and newgidmap do not do what they are for.
func TestToolForIDsThatDoesNotDoIsNamed(t *testing.T) {
	needRoot(t)
	path := openPath(t)
	free := said(t, users(t, path, "", nil, acts...))
	for _, what := range []string{"subordinate ids", "two ids"} {
		if free[what] != "ok" {
			t.Fatalf("%s: %q", what, free[what])
		}
	}
	const copies = `mount -t tmpfs none "$1"
		for tool in newuidmap newgidmap; do
			cp "$(command -v $tool)" "$1/$tool"
			mount --bind "$1/$tool" "$(command -v $tool)"
		done`
	for name, c := range map[string]struct {
		script string
		words  []string
	}{
		"missing": {`for tool in newuidmap newgidmap; do mount --bind /dev/null "$(command -v $tool)"; done`,
			[]string{"newuidmap", "executable file not found in $PATH", "package uidmap"}},
		"without a setuid bit": {copies, []string{"newuidmap", "neither setuid root nor has the file capability cap_setuid", "setcap cap_setuid+ep"}},
		"mounted nosuid": {`dir=$(dirname "$(command -v newuidmap)")
			mount --bind "$dir" "$dir"
			mount -o remount,bind,nosuid "$dir"`, []string{"newuidmap", "mounted nosuid", "remount,suid"}},
	} {
		t.Run(name, func(t *testing.T) {
			matrix(t, said(t, users(t, path, c.script, nil, acts...)), free, refusals{subids, c.words, []string{"possibly", "no_new_privs", "usermod"}})
		})
	}
	t.Run("no ranges", func(t *testing.T) {
		lines := said(t, users(t, path, `mount --bind /dev/null /etc/subuid`, nil, acts...))
		matrix(t, lines, free, refusals{subids, []string{"/etc/subuid", "no subordinate ids", "usermod --add-subuids adds"}, []string{"possibly", "package uidmap", "setuid root"}})
	})
}

// chroot is a script after which $root is a directory, or a mount, with the files of this machine. Both are chroots where
// they are entered by chroot(2).
func chroot(directory bool) string {
	root := `root=$1/mnt
		mkdir "$root"
		mount -t tmpfs none "$root"`
	if directory {
		root += `
		root=$root/dir
		mkdir "$root"`
	}
	return root + `
		for d in bin lib lib32 lib64 sbin usr proc dev etc tmp; do
			[ ! -e "/$d" ] || { mkdir "$root/$d"; mount --rbind "/$d" "$root/$d"; }
		done
		`
}

func TestChrootIsNamed(t *testing.T) {
	needRoot(t)
	path := openPath(t)
	user := said(t, users(t, path, "", nil, acts...))
	root := said(t, exec.Command(path, acts...))
	words := []string{"this process is in a chroot, where the kernel allows no new user namespaces", "pivot_root(2)"}
	for name, directory := range map[string]bool{"to a directory": true, "to a mount": false} {
		t.Run(name, func(t *testing.T) {
			enter := chroot(directory) + `exec chroot "$root" "$2" calls probe`
			matrix(t, said(t, apart(t, enter, t.TempDir(), path)), root, refusals{withUser.without(calls("subordinate ids")), words, []string{"possibly"}})
			enter = account + chroot(directory) + `exec chroot "$root" setpriv --reuid 64001 --regid 64001 --clear-groups "$2" calls probe`
			lines := said(t, apart(t, enter, t.TempDir(), path))
			if !directory { // which only who may look at the root of others can tell from the root of a mnt namespace
				matrix(t, lines, user, refusals{withUser, []string{"possibly this process is in a chroot, to a mount", "pivot_root(2)"}, nil})
				return
			}
			matrix(t, lines, user, refusals{withUser.and(privileged), words, []string{"possibly"}})
			if lines["fact chroot"] != "yes" {
				t.Errorf("the fact: %q", lines["fact chroot"])
			}
		})
	}
}

func TestLimitOfProcessesIsNamed(t *testing.T) {
	needRoot(t)
	path := openPath(t)
	free := said(t, users(t, path, "", nil, acts...))
	lines := said(t, users(t, path, "", nil, append([]string{"-nproc"}, acts...)...))
	delete(lines, "child") // is started by package os/exec
	words := []string{"resource temporarily unavailable", "uid 64001 has ", "RLIMIT_NPROC of this process allows 1 (ulimit -u)"}
	matrix(t, lines, free, refusals{launched.and(calls("command at home")), words, []string{"possibly", "pids.max", "threads-max"}})
}

// noexec are mounts after which files can be executed from none of the directories for temporary ones.
const noexec = `for d in /tmp /var/tmp /dev/shm; do
		[ -d $d ] || continue
		mount --bind $d $d
		mount -o remount,bind,noexec $d
	done
	mount -t tmpfs none "$1"
	chmod 755 "$1"
	cp "$2" "$1/program"
	set -- "$1" "$1/program" "$3"
	`

// A launcher is executed from a memfd, or else from a temporary file.
func TestFilesThatCannotBeExecutedAreNamed(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	path := openPath(t)
	free := said(t, apart(t, `exec "$1" calls probe`, path))
	run := func(t *testing.T, script string, pid bool, filter ...string) map[string]string {
		t.Helper()
		script += `exec "$2" $3 calls probe`
		c := apart(t, script, filepath.Join("/mnt"), path, strings.Join(filter, " "))
		if pid {
			_, err := os.Stat("/proc/sys/vm/memfd_noexec")
			need(t, "memfd_noexec", err)
			c.Args = slices.Insert(c.Args, 1, "--pid", "--fork", "--mount-proc")
		}
		return said(t, c)
	}
	const off = "echo 2 >/proc/sys/vm/memfd_noexec\n"
	filter := func(errno string) []string { return []string{"-nnp=false", "-errno", errno, "-filter", "memfd_create"} }
	t.Run("one way", func(t *testing.T) {
		matrix(t, run(t, noexec, false), free)
		lines := run(t, off, true)
		matrix(t, lines, free)
		if lines["fact vm.memfd_noexec"] != "2" {
			t.Errorf("the fact: %q", lines["fact vm.memfd_noexec"])
		}
	})
	of := launched.without(calls("subordinate ids")).and(calls("command at home"))
	const remedy = "let TMPDIR name a directory"
	for name, c := range map[string]struct {
		lines        func(t *testing.T) map[string]string
		words, never []string
	}{
		"the sysctl": {func(t *testing.T) map[string]string { return run(t, off+noexec, true) },
			[]string{"the sysctl vm.memfd_noexec of this pid namespace is 2", "/tmp is mounted noexec", remedy}, []string{"possibly", "seccomp"}},
		"a filter": {func(t *testing.T) map[string]string { return run(t, noexec, false, filter("1")...) },
			[]string{"possibly a seccomp filter is active", "/tmp is mounted noexec", remedy}, []string{"vm.memfd_noexec", "security module"}},
		"a filter that does not know it": {func(t *testing.T) map[string]string { return run(t, noexec, false, filter("38")...) },
			[]string{"seccomp) forbids memfd_create", "--security-opt seccomp=FILE", remedy}, []string{"possibly", "vm.memfd_noexec"}},
		"something else, with the same error as the sysctl": {func(t *testing.T) map[string]string { return run(t, noexec, false, filter("13")...) },
			[]string{"possibly a security module", remedy}, []string{"vm.memfd_noexec", "seccomp"}},
	} {
		t.Run(name, func(t *testing.T) { matrix(t, c.lines(t), free, refusals{of, c.words, c.never}) })
	}
}
