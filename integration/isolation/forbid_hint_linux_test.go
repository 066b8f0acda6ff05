package isolation

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

// hints wants parts of what was said, and says what has no part in it.
func hints(t *testing.T, lines map[string]string, want map[string][]string, never ...string) {
	t.Helper()
	for what, parts := range want {
		for _, part := range parts {
			if !strings.Contains(lines[what], part) {
				t.Errorf("%s: %q, want %q in it", what, lines[what], part)
			}
		}
		for _, part := range never {
			if strings.Contains(lines[what], part) {
				t.Errorf("%s: %q, with %q in it", what, lines[what], part)
			}
		}
	}
}

// nsjail#236: where mounts are denied, the hint is not about a hidden /proc, nor is the option to blame that had not
// come to its turn. Landlock denies them without a privilege.
func TestDeniedMountCannotBlameProc(t *testing.T) {
	needUserNS(t)
	run := forbidden(t)
	lines := run(t, "-landlock", "unshare=user,mnt", "unshare=user,pid", "unshare=user,mnt,pid,proc", "unshare=user,net")
	if why := lines["landlock"]; why != "" {
		need(t, "landlock", errors.New(why))
	}
	blames := []string{"possibly", "landlock(7)"}
	hints(t, lines, map[string][]string{"unshare=user,mnt": blames, "unshare=user,pid": blames, "unshare=user,mnt,pid,proc": blames},
		"hidden here", "MountProc", "AppArmor restricts", "seccomp")
	if lines["unshare=user,net"] != "ok" {
		t.Errorf("without mounts: %q", lines["unshare=user,net"])
	}
	// Modules answer EACCES, as this filter does.
	hints(t, run(t, "-filter", "mount", "-errno", "13", "unshare=user,mnt,pid,proc"),
		map[string][]string{"unshare=user,mnt,pid,proc": {"possibly a security module forbids it"}}, "hidden here", "MountProc", "seccomp filter")
	hints(t, run(t, "-filter", "mount", "unshare=user,mnt,pid,proc"),
		map[string][]string{"unshare=user,mnt,pid,proc": {"possibly a seccomp filter is active"}}, "hidden here", "MountProc", "landlock")
}

// The look-alike: a /proc with something hidden is named.
func TestHiddenProcIsNamed(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	lines := said(t, apart(t, `mount -t tmpfs none /proc/sys
		exec setpriv --reuid 65534 --regid 65534 --clear-groups "$1" unshare=user,mnt,pid,proc`, openPath(t)))
	hints(t, lines, map[string][]string{"unshare=user,mnt,pid,proc": {"MountProc", "possibly parts of /proc or /sys are hidden here"}}, "landlock", "module")
}

// without is the program as root without some capabilities.
func without(caps, path string, args ...string) *exec.Cmd {
	var minus []string
	for _, c := range strings.Split(caps, ",") {
		minus = append(minus, "-"+c)
	}
	list := strings.Join(minus, ",")
	return exec.Command("setpriv", append([]string{"--bounding-set", list, "--inh-caps", list, "--", path}, args...)...)
}

// shadow#334, containerd#13075, podman#4473, podman#22088: root that lacks one capability, or all, is told which one
// counts, and gets no advice that it cannot follow.
func TestMissingCapabilityCannotBeGuessedAt(t *testing.T) {
	needRoot(t)
	testenv.Need(t, testenv.Host)
	needTool(t, "tools", "setpriv")
	needTool(t, "tools", "unshare")
	path := openPath(t)
	holder := exec.Command("unshare", "--mount", "--net", "sh", "-c", "echo; exec sleep 600")
	startDialogue(t, holder).hear(t)
	pid := strconv.Itoa(holder.Process.Pid)
	const default0 = "it is the map that there is without IDMaps"
	for _, c := range []struct {
		caps string
		acts []string
		want map[string][]string
	}{
		{"all", []string{"unshare=net", "unshare=user"}, map[string][]string{
			"unshare=net":  {"it needs CAP_SYS_ADMIN, and a user namespace made along with it", "CAP_SETFCAP"},
			"unshare=user": {"CAP_SETFCAP", default0},
		}},
		{"setfcap", []string{"unshare=user", "unshare=user,many"}, map[string][]string{
			"unshare=user": {"CAP_SETFCAP", default0}, "unshare=user,many": {"CAP_SETFCAP"},
		}},
		{"setuid", []string{"unshare=user,owner", "unshare=user,many"}, map[string][]string{
			"unshare=user,owner": {"this process lacks CAP_SETUID"}, "unshare=user,many": {"CAP_SETUID"},
		}},
		{"net_admin", []string{"unshare=net,up", "unshare=net,pid,up"}, map[string][]string{
			"unshare=net,up": {"LoopbackUp", "it needs CAP_NET_ADMIN"}, "unshare=net,pid,up": {"LoopbackUp", "it needs CAP_NET_ADMIN"},
		}},
		{"sys_chroot", []string{"join=" + pid + ":mnt"}, map[string][]string{"join=" + pid + ":mnt": {"takes CAP_SYS_CHROOT as well"}}},
		{"sys_time", []string{"unshare=time,offsets"}, map[string][]string{"unshare=time,offsets": {"it needs CAP_SYS_TIME"}}},
		{"sys_admin", []string{"unshare=net", "join=" + pid + ":net", "join=" + pid + ":mnt"}, map[string][]string{
			"unshare=net":          {"without privileges, make a user namespace along with it"},
			"join=" + pid + ":net": {"it needs CAP_SYS_ADMIN in this process's own user namespace"},
			"join=" + pid + ":mnt": {"it needs CAP_SYS_ADMIN in this process's own user namespace"},
		}},
	} {
		t.Run(c.caps, func(t *testing.T) {
			hints(t, said(t, without(c.caps, path, c.acts...)), c.want, "possibly", "seccomp")
		})
	}
	t.Run("a user namespace of its own has them", func(t *testing.T) {
		acts := []string{"unshare=user,net,up", "unshare=user,time,offsets"}
		lines := said(t, without("net_admin,sys_time,sys_chroot", path, acts...))
		for _, act := range acts {
			if lines[act] != "ok" {
				t.Errorf("%s: %q", act, lines[act])
			}
		}
	})
	t.Run("ids that are not mapped", func(t *testing.T) {
		c := exec.Command("unshare", "--user", "--map-root-user", path, "unshare=user,many", "within=user")
		hints(t, said(t, c), map[string][]string{
			"unshare=user,many": {"uids 0-9 are not all mapped in this process's user namespace (mapped: 0)"},
			"within=user":       {"uid 0 is not mapped in the Set's user namespace (mapped: 7)", default0},
		}, "possibly")
		c = exec.Command("unshare", "--user", path, "unshare=user", "unshare=net")
		const unmapped = "the uid of this process is not mapped in its own user namespace"
		hints(t, said(t, c), map[string][]string{"unshare=user": {unmapped}, "unshare=net": {"CAP_SYS_ADMIN", unmapped}}, "possibly", "without privileges")
	})
	t.Run("fake root", func(t *testing.T) {
		lines := said(t, apart(t, `mount --bind "$1" "$1"
			mount --make-private "$1"
			touch "$1/net"
			unshare --net="$1/net" true
			exec unshare --user --map-root-user "$2" "open=$1/net"`, t.TempDir(), path))
		hints(t, lines, map[string][]string{"open": {"neither this process's own nor below that"}}, "possibly")
	})
}

// The same for newuidmap: what it executes with is bounded.
func TestBoundedToolCannotFailInWordsOfItsOwn(t *testing.T) {
	needRoot(t)
	needTool(t, "subids", "newuidmap")
	needTool(t, "tools", "setpriv")
	c := exec.Command("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--bounding-set", "-all", "--", openPath(t), "unshare=user,subids")
	hints(t, said(t, c), map[string][]string{"unshare=user,subids": {"newuidmap", "the bounding set of this process lacks CAP_SETUID"}}, "possibly")
}

// moby#22865: quota is of keys, and says whose. In a Set of one's own it is no matter.
func TestQuotaOfKeysCannotReadAsADisks(t *testing.T) {
	needRoot(t)
	testenv.Need(t, testenv.Host)
	needTool(t, "tools", "setpriv")
	c := exec.Command("setpriv", "--reuid", "64002", "--regid", "64002", "--clear-groups", openPath(t), "-keys", "own", "opened")
	lines := said(t, c)
	if why := lines["keys"]; why != "" {
		need(t, "keyrings", errors.New(why))
	}
	want := []string{"disk quota exceeded", "uid 64002 has ", "keys of at most ", "/proc/key-users"}
	hints(t, lines, map[string][]string{"opened do": want, "opened command": want, "opened idmaps": want, "opened nested": want}, "possibly")
	for _, use := range uses {
		if lines["own "+use] != "ok" {
			t.Errorf("own %s: %q", use, lines["own "+use])
		}
	}
}

// bubblewrap#615: limits of namespaces are those of the user namespace that counts.
func TestLimitOfNamespacesCannotBeMissed(t *testing.T) {
	needUserNS(t)
	needTool(t, "tools", "unshare")
	c := exec.Command("unshare", "--user", "--map-root-user", "sh", "-c", `echo 0 >/proc/sys/user/max_net_namespaces && exec "$0" unshare=net unshare=user,net`, forbiddenPath(t))
	const want = "the sysctl user.max_net_namespaces is 0"
	hints(t, said(t, c), map[string][]string{"unshare=net": {"no space left on device", want}, "unshare=user,net": {want}}, "possibly", "mount-max")
}
