package isolation

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What was refused, and by what, reads the same whichever call of gonso's ran into it.

// A filter that kills a launcher on its way to a program: the program never ran.
func TestKilledLauncherCannotReadAsTheProgramsDeath(t *testing.T) {
	needUserNS(t)
	run := forbidden(t)
	const killed = "the launcher was killed by SIGSYS: a filter of system calls (seccomp) kills"
	want := map[string][]string{"command": {killed}, "command in pid": {killed}}
	hints(t, run(t, "-kill", "-filter", "setresuid", "calls"), want, "signal:")
	want["user"] = []string{killed} // before its exec
	hints(t, run(t, "-kill", "-filter", "setsid", "calls"), want, "broken pipe")
}

// A call that a filter forbids has one hint, in a worker's launch and in a program's.
func TestRefusedStepOfACommandCannotLackTheHintOfAWorkers(t *testing.T) {
	needUserNS(t)
	run := forbidden(t)
	lines := run(t, "-filter", "setresuid", "calls", "probe")
	blames := []string{"setresuid", "possibly a seccomp filter is active"}
	hints(t, lines, map[string][]string{"command": blames, "command in pid": blames, "worker" + inUser: blames, "probe worker" + inUser: blames})
	agree(t, lines)
	lines = run(t, "-filter", "setsid", "calls", "probe")
	hints(t, lines, map[string][]string{"user": blames[1:], "command": blames[1:], "probe user": blames[1:]})
	agree(t, lines)
}

// Neither a file elsewhere nor a memfd helps where a limit of the process is in the way.
func TestLimitOfFilesIsNamed(t *testing.T) {
	needUserNS(t)
	needTool(t, "tools", "prlimit")
	path := forbiddenPath(t)
	out, err := exec.Command("prlimit", "--fsize=0", path, "unshare=user").Output()
	line, _, _ := strings.Cut(string(out), "\n")
	if err != nil && line == "" {
		t.Fatal(err)
	}
	hints(t, map[string]string{"": line}, map[string][]string{"": {"RLIMIT_FSIZE of this process allows files of at most 0 bytes"}}, "TMPDIR")
}

// A procfs that is read-only, as nsjail has it, and bubblewrap with / read-only.
func TestReadOnlyProcIsNamed(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	path := openPath(t)
	for user, as := range map[string]string{"root": "", "user": "setpriv --reuid 65534 --regid 65534 --clear-groups "} {
		t.Run(user, func(t *testing.T) {
			lines := said(t, apart(t, "mount -o remount,bind,ro /proc\nexec "+as+`"$1" calls probe`, path))
			named := []string{"read-only file system", "the procfs on /proc is mounted read-only"}
			hints(t, lines, map[string][]string{"user": named, "command": named, "probe user": named}, "possibly")
			agree(t, lines)
		})
	}
}

// A security module answers EACCES to who makes a namespace, as this filter does.
func TestModuleThatDeniesNamespacesIsNamed(t *testing.T) {
	needUserNS(t)
	lines := forbidden(t)(t, "-filter", "unshare", "-errno", "13", "calls", "probe")
	module := []string{"permission denied", "possibly a security module forbids it"}
	hints(t, lines, map[string][]string{"user": module, "net" + inUser: module, "probe user": module}, "seccomp", "chroot")
	agree(t, lines)
}

// A filter that does not let the file system of /proc be asked for: there is a procfs.
func TestProcfsThatMayNotBeAskedForIsNotMissing(t *testing.T) {
	needUserNS(t)
	lines := forbidden(t)(t, "-filter", "statfs", "calls", "probe")
	hints(t, lines, map[string][]string{"user": {"statfs /proc: operation not permitted", "possibly a seccomp filter is active"}}, "no procfs")
	agree(t, lines)
}

// As with RestrictAddressFamilies=AF_UNIX of systemd: the loopback interface is set up by way of any socket.
func TestLoopbackCannotNeedSocketsOfTheInternet(t *testing.T) {
	needUserNS(t)
	lines := forbidden(t)(t, "-filter", "socket inet", "-errno", "97", "unshare=user,net,up", "unshare=user,net,pid,up")
	for what, came := range lines {
		if came != "ok" {
			t.Errorf("%s: %q", what, came)
		}
	}
}

// A program that its user may execute and not read cannot be copied for a Set that somebody else made.
func TestProgramThatMayNotBeReadIsNamed(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	needTool(t, "tools", "setpriv")
	path := openPath(t)
	if err := os.Chmod(path, 0o111); err != nil {
		t.Fatal(err)
	}
	lines := said(t, exec.Command("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--", path, "opened"))
	hints(t, lines, map[string][]string{"opened do": {"permission denied", "may not read", "chmod +r"}})
}
