package isolation

import (
	"errors"
	"os/exec"
	"strings"
	"testing"
)

// Look-alikes: the same error as one of those that the other files have, with another cause. No call gets the words of the
// one that it is not, and neither does Probe. Some are beside what they are like: a temporary file that a filter forbids
// (TestFilesThatCannotBeExecutedAreNamed), a procfs of the pid namespace above (TestProcfsThatIsNoneIsNamed), processes
// that are not there (TestProcfsThatHidesIsNamed).

// never wants none of the words of any line but facts.
func never(t *testing.T, lines map[string]string, words ...string) {
	t.Helper()
	for what, came := range lines {
		for _, word := range words {
			if !strings.HasPrefix(what, "fact ") && strings.Contains(came, word) {
				t.Errorf("%s: %q, with %q in it", what, came, word)
			}
		}
	}
}

// EPERM with a filter that has nothing to do with it: what is missing is a capability.
func TestFilterThatForbidsNothingGetsNoBlame(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	needTool(t, "tools", "setpriv")
	path := openPath(t)
	run := func(args ...string) map[string]string {
		return said(t, exec.Command("setpriv", append([]string{"--reuid", "65534", "--regid", "65534", "--clear-groups", "--", path}, args...)...))
	}
	lines, free := run("-filter", "nothing", "calls", "probe"), run("calls", "probe")
	matrix(t, lines, free, refusals{subids, []string{"newuidmap", "no_new_privs is set"}, []string{"seccomp"}})
	never(t, lines, "seccomp")
	hints(t, lines, map[string][]string{"net": {"it needs CAP_SYS_ADMIN"}, "probe net": {"it needs CAP_SYS_ADMIN"}}, "possibly")
}

// EINVAL of a type that the kernel has: a filter may answer that, and it is not that the kernel is old.
func TestTypeThatTheKernelHasIsNotMissing(t *testing.T) {
	needUserNS(t)
	run := forbidden(t)
	free := run(t, "-filter", "nothing", "calls", "probe")
	need(t, "time", missing(free["time"+inUser]))
	of := calls("time", "time"+inUser)
	lines := run(t, "-filter", "unshare time", "-errno", "22", "calls", "probe")
	matrix(t, lines, free, refusals{of, []string{"invalid argument", "possibly a seccomp filter is active"}, []string{"this kernel has no", "built without", "CONFIG_TIME_NS"}})
	lines = run(t, "-filter", "unshare time", "-errno", "28", "calls", "probe") // ENOSPC
	matrix(t, lines, free, refusals{of, []string{"no space left on device"}, []string{"is 0", "mount-max"}})
}

func missing(came string) error {
	if came == "ok" {
		return nil
	}
	return errors.New(came)
}

// ENOSPC of a limit that is not 0 but reached, and of one that is of mounts.
func TestLimitThatIsReachedIsNotNone(t *testing.T) {
	path := forbiddenPath(t)
	free := said(t, inOwn(t, path, "", "calls", "probe"))
	// The program has the one net namespace that there may be.
	lines := said(t, inOwn(t, path, `echo 1 >/proc/sys/user/max_net_namespaces; unshare --net sh -e -c 'exec "$0" "$@"' "$0" "$@"; exit;`, "calls", "probe"))
	matrix(t, lines, free, refusals{calls("net", "net"+inUser), []string{"possibly the limit user.max_net_namespaces of 1 is reached"}, []string{"is 0", "mount-max"}})
}

// EPERM of mounts, by Landlock and not by a filter or what /proc hides.
func TestProbeOfDeniedMountsCannotBlameProc(t *testing.T) {
	needUserNS(t)
	run := forbidden(t)
	lines := run(t, "-landlock", "calls", "probe")
	if why := lines["landlock"]; why != "" {
		need(t, "landlock", errors.New(why))
	}
	agree(t, lines)
	hints(t, lines, map[string][]string{
		"mnt" + inUser: {"possibly", "landlock(7)"}, "probe new /proc" + inUser: {"possibly", "landlock(7)"}, "probe overlay" + inUser: {"possibly", "landlock(7)"},
	}, "hidden here", "AppArmor restricts", "seccomp")
	never(t, lines, "seccomp", "chroot", "parts of /proc")
}

// EPERM of root in a user namespace of its own, for want of ids and not of capabilities.
func TestIDsThatAreNotMappedAreNoMissingCapability(t *testing.T) {
	needUserNS(t)
	needTool(t, "tools", "unshare")
	lines := said(t, exec.Command("unshare", "--user", forbiddenPath(t), "calls", "probe"))
	agree(t, lines)
	words := []string{"the uid of this process is not mapped in its own user namespace"}
	hints(t, lines, map[string][]string{"user": words, "probe user": words, "net" + inUser: words, "probe worker" + inUser: words}, "possibly", "chroot")
	never(t, lines, "seccomp", "chroot", "unprivileged_userns_clone", "CAP_SETFCAP")
}

// A root that pivot_root has changed is no chroot, though it is not the machine's.
func TestRootThatWasPivotedToIsNoChroot(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	path := openPath(t)
	pivot := chroot(false) + `mkdir "$root/old"
		cd "$root"
		mount --make-rprivate /
		pivot_root . old
		umount -l old
		`
	for user, exec := range map[string]string{"root": `exec "$2" calls probe`, "user": `exec setpriv --reuid 65534 --regid 65534 --clear-groups "$2" calls probe`} {
		t.Run(user, func(t *testing.T) {
			needTool(t, "tools", "pivot_root")
			dir := t.TempDir()
			lines := said(t, apart(t, pivot+exec, dir, path))
			matrix(t, lines, said(t, apart(t, exec, dir, path)))
			never(t, lines, "chroot")
			if lines["fact chroot"] != "no" {
				t.Errorf("the fact: %q", lines["fact chroot"])
			}
		})
	}
}

// EPERM of a tool for ids, for want of ranges and not of privileges.
func TestIDsThatAreNobodysAreNoToolWithoutPrivileges(t *testing.T) {
	needRoot(t)
	path := openPath(t)
	free := said(t, users(t, path, "", nil, "calls", "probe"))
	lines := said(t, users(t, path, `echo gonso-forbid:500000:65536 >"$1/subid"`, nil, "calls", "probe"))
	matrix(t, lines, free, refusals{calls("two ids"), []string{"uid 100000 is neither in the ranges of user gonso-forbid", "usermod --add-subuids"},
		[]string{"setuid root", "no_new_privs", "nosuid", "bounding set", "possibly"}})
}

// EPERM of joining a user namespace, by a filter, though the user owns it: nobody lacks a capability there.
func TestOwnerOfAUserNamespaceLacksNothingInIt(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	needTool(t, "tools", "setpriv")
	c := exec.Command("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--", openPath(t), "-filter", "setns", "own", "calls", "probe")
	lines := said(t, c)
	agree(t, lines)
	const want = "possibly a seccomp filter is active"
	hints(t, lines, map[string][]string{
		"own do": {want}, "own command": {want}, "own idmaps": {want}, "own nested": {want}, "probe worker" + inUser: {want},
	}, "CAP_SYS_ADMIN", "owns it")
}
