package isolation

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

// Machines forbid things: a container runtime by a filter of system calls, a service manager by a smaller set of
// capabilities. testdata/forbidden does what programs do with gonso there.

// dockersFilter is Docker's default profile for a container that has some capabilities, as runc is told.
func dockersFilter(t *testing.T, caps []string) map[string]any {
	t.Helper()
	type condition struct {
		Caps, Arches []string
		MinKernel    string
	}
	var profile struct {
		DefaultAction   string
		DefaultErrnoRet int
		Syscalls        []struct {
			Names              []string
			Action             string
			ErrnoRet           *int
			Args               []map[string]any
			Includes, Excludes condition
		}
	}
	b, err := os.ReadFile("testdata/seccomp/docker.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &profile); err != nil {
		t.Fatal(err)
	}
	has := func(c string) bool { return slices.Contains(caps, c) }
	var calls []map[string]any
	for _, s := range profile.Syscalls {
		in, out := s.Includes, s.Excludes
		if len(in.Arches) > 0 && !slices.Contains(in.Arches, runtime.GOARCH) || slices.Contains(out.Arches, runtime.GOARCH) ||
			len(in.Caps) > 0 && !slices.ContainsFunc(in.Caps, has) || slices.ContainsFunc(out.Caps, has) {
			continue
		}
		call := map[string]any{"names": s.Names, "action": s.Action}
		if s.ErrnoRet != nil {
			call["errnoRet"] = *s.ErrnoRet
		}
		if len(s.Args) > 0 {
			call["args"] = s.Args
		}
		calls = append(calls, call)
	}
	architectures := map[string]string{"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64"}
	arch, ok := architectures[runtime.GOARCH]
	if !ok {
		need(t, "process", fmt.Errorf("no name for %s is known", runtime.GOARCH))
	}
	return map[string]any{
		"defaultAction": profile.DefaultAction, "defaultErrnoRet": profile.DefaultErrnoRet,
		"architectures": []string{arch}, "syscalls": calls,
	}
}

// dockersBox is a container as Docker makes it, with some capabilities more than it gives.
func dockersBox(t *testing.T, more ...string) *box {
	t.Helper()
	b := newBoxWith(t, nouns, func(config map[string]any) {
		caps := append(slices.Clone(dockersCapabilities), more...)
		process := config["process"].(map[string]any)
		process["capabilities"] = map[string]any{"bounding": caps, "effective": caps, "permitted": caps, "inheritable": []string{}, "ambient": []string{}}
		config["linux"].(map[string]any)["seccomp"] = dockersFilter(t, caps)
	})
	b.put(t, forbiddenPath(t), "/bin/forbidden")
	return b
}

// forbidden builds the program, for whoever this test runs as, and runs it.
func forbidden(t *testing.T) func(t *testing.T, args ...string) map[string]string {
	t.Helper()
	path := forbiddenPath(t)
	return func(t *testing.T, args ...string) map[string]string {
		t.Helper()
		return said(t, exec.Command(path, args...))
	}
}

func forbiddenPath(t *testing.T) string {
	t.Helper()
	needTool(t, "go", "go")
	return buildForbidden(t, t.TempDir())
}

// forbiddenProgram is the program, once it was built: many tests want it.
var forbiddenProgram []byte

// buildForbidden has the program in a directory.
func buildForbidden(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "forbidden")
	var err error
	if forbiddenProgram == nil {
		build(t, "forbidden", path)
		forbiddenProgram, err = os.ReadFile(path)
	} else {
		err = os.WriteFile(path, forbiddenProgram, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// said are the lines that a program has printed, by what they are about.
func said(t *testing.T, c *exec.Cmd) map[string]string {
	t.Helper()
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", c.Args, err, out)
	}
	lines := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		what, came, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			t.Fatalf("%v: %s", c.Args, out)
		}
		lines[what] = came
	}
	return lines
}

// uses are what the program tries in a Set.
var uses = []string{"do", "command", "exe", "dir", "idmaps", "listen", "nested", "nested user", "nested do"}

// expect wants everything to have gone well of what is done in the program's own Set, and in one that it opens.
func expect(t *testing.T, lines map[string]string, not map[string]string) {
	t.Helper()
	for _, set := range []string{"own ", "opened "} {
		if came := lines[strings.TrimSpace(set)+" unshare"]; set == "own " && came != "ok" || set == "opened " && came != "" {
			t.Errorf("%sunshare: %s", set, came)
		}
		for _, use := range uses {
			came, want := lines[set+use], not[set+use]
			switch {
			case want == "" && came != "ok":
				t.Errorf("%s%s: %q", set, use, came)
			case want != "" && !strings.Contains(came, want):
				t.Errorf("%s%s: %q, want %q in it", set, use, came, want)
			}
		}
	}
}

// crun#1786: creating a session keyring is answered EPERM in containers of Docker's, with CAP_SYS_ADMIN too, and the
// runtime gives up.
func TestContainersFilterCannotKeepWorkOut(t *testing.T) {
	b := dockersBox(t, "CAP_SYS_ADMIN", "CAP_NET_ADMIN")
	lines := said(t, b.exec("/bin/forbidden", "keyctl", "own", "opened"))
	if want := "operation not permitted"; lines["keyctl"] != want {
		t.Errorf("the filter is not Docker's: keyctl: %q", lines["keyctl"])
	}
	expect(t, lines, nil)
}

// moby#52268: root that lacks CAP_SYS_PTRACE, as Docker's does, may not look at what is not dumpable, which launchers
// that go into somebody else's Set are not. They send what is their own.
func TestRootWithoutPtraceCannotBeKeptFromNestedSets(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	needTool(t, "tools", "setpriv")
	expect(t, said(t, without("sys_ptrace", openPath(t), "own", "opened")), nil)
}

// Without CAP_SYS_ADMIN Docker's filter forbids namespaces, which is said.
func TestContainersFilterCannotBeASilentEPERM(t *testing.T) {
	b := dockersBox(t)
	lines := said(t, b.exec("/bin/forbidden", "own", "plain"))
	for what, want := range map[string]string{
		"own unshare":   "possibly a seccomp filter is active",
		"plain unshare": "it needs CAP_SYS_ADMIN",
	} {
		if !strings.Contains(lines[what], want) || !strings.Contains(lines[what], "operation not permitted") {
			t.Errorf("%s: %q, want %q in it", what, lines[what], want)
		}
	}
}

// crun#672, crun#545, eio#514: close_range, execveat, openat2 and clone3 are unknown to filters of older runtimes, which
// answer EPERM or ENOSYS, or kill.
func TestFilterThatKnowsNoNewCallsCannotKeepWorkOut(t *testing.T) {
	needUserNS(t)
	run := forbidden(t)
	const outside = "forbids execveat, and by a path nothing is executed in a Set that somebody else made"
	noExecveat := map[string]string{"opened do": outside, "opened exe": outside, "opened listen": outside, "opened nested do": outside}
	for calls, not := range map[string]map[string]string{
		"keyctl":             nil,
		"close_range":        nil,
		"clone3":             nil,
		"pivot_root":         nil,
		"execveat":           noExecveat,
		"openat2":            {"opened dir": "Dir: chdir /: operation not permitted: a filter of system calls (seccomp) forbids openat2"},
		"keyctl,close_range": nil,
	} {
		for _, errno := range []int{1, 38} {
			t.Run(fmt.Sprintf("%s answers %d", calls, errno), func(t *testing.T) {
				if errno == 38 {
					for use, want := range not {
						not[use] = strings.ReplaceAll(want, "operation not permitted", "function not implemented")
					}
				}
				expect(t, run(t, "-inherit", "-errno", strconv.Itoa(errno), "-filter", calls, "own", "opened"), not)
			})
		}
	}
	for calls, not := range map[string]map[string]string{
		"keyctl": nil, "close_range": nil, "clone3": nil, "pivot_root": nil, "execveat": noExecveat,
	} {
		t.Run(calls+" kills", func(t *testing.T) {
			expect(t, run(t, "-inherit", "-kill", "-filter", calls, "own", "opened"), not)
		})
	}
}

// The same where there is no other way: who was killed, and by what, is said.
func TestKillingFilterCannotBeSilent(t *testing.T) {
	needUserNS(t)
	lines := forbidden(t)(t, "-kill", "-filter", "setns", "own")
	for what, want := range map[string]string{
		"own do":      "signal: bad system call: possibly by a seccomp filter",
		"own command": "the launcher was killed by SIGSYS",
		"own idmaps":  "the launcher was killed by SIGSYS",
		"own nested":  "the launcher was killed by SIGSYS",
	} {
		if !strings.Contains(lines[what], want) {
			t.Errorf("%s: %q, want %q in it", what, lines[what], want)
		}
	}
}

// An openat2 that a filter answers is no error of the file that was to be opened.
func TestFilterCannotReadAsAnErrorOfTheFile(t *testing.T) {
	run := forbidden(t)
	for _, errno := range []int{1, 38} {
		lines := run(t, "-errno", strconv.Itoa(errno), "-filter", "openat2", "file")
		for _, what := range []string{"file", "no file"} {
			if !strings.Contains(lines[what], "a filter of system calls (seccomp) forbids openat2") {
				t.Errorf("errno %d: %s: %q", errno, what, lines[what])
			}
		}
		// Nothing leads to the thread's own files then, and the host's must not be shown in their place.
		for name, want := range map[string]string{"/proc/net/dev": "forbids openat2", "/proc/self/ns/net": "forbids openat2", "/proc/version": "ok"} {
			if said, root := lines[name]; root && !strings.Contains(said, want) {
				t.Errorf("errno %d: %s: %q, want %q", errno, name, said, want)
			}
		}
	}
	lines := run(t, "-filter", "keyctl", "file")
	if lines["file"] != "ok" || !strings.HasSuffix(lines["no file"], "no such file or directory") {
		t.Errorf("where openat2 is allowed: %q", lines)
	}
}

// Docker's filter forbids pivot_root. The init of a pid namespace has an empty root all the same.
func TestInitCannotKeepItsRootWithoutPivotRoot(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	run := forbidden(t)
	const want = "2 processes, [], <nil>"
	for _, args := range [][]string{{}, {"-filter", "pivot_root"}, {"-filter", "pivot_root", "-errno", "38"}, {"-filter", "pivot_root", "-kill"}} {
		if lines := run(t, append(args, "roots")...); lines["roots"] != want {
			t.Errorf("%v: %q, want %q", args, lines, want)
		}
	}
}

// bubblewrap#587: a sandbox whose making fails leaves a zombie to who is pid 1, or a subreaper.
func TestFailedStartsCannotLeaveZombies(t *testing.T) {
	needUserNS(t)
	const want = "60 failed, 0 left"
	path := forbiddenPath(t)
	t.Run("subreaper", func(t *testing.T) {
		if lines := said(t, exec.Command(path, "reap=30")); lines["reap"] != want {
			t.Errorf("%q, want %q", lines["reap"], want)
		}
	})
	t.Run("pid 1", func(t *testing.T) {
		needRoot(t)
		needTool(t, "tools", "unshare")
		if lines := said(t, exec.Command("unshare", "--fork", "--pid", "--mount-proc", path, "reap=30")); lines["reap"] != want {
			t.Errorf("%q, want %q", lines["reap"], want)
		}
	})
}

// openPath is the program where every user gets to.
func openPath(t *testing.T) string {
	t.Helper()
	needTool(t, "go", "go")
	return openBuild(t)
}

// openBuild is openPath in guests as well.
func openBuild(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "gonso-forbid-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return buildForbidden(t, dir)
}

// apart is a script of root's in a mount namespace of its own. Its arguments are $1 and so on.
func apart(t *testing.T, script string, args ...string) *exec.Cmd {
	t.Helper()
	needRoot(t)
	for _, tool := range []string{"unshare", "setpriv"} {
		needTool(t, "tools", tool)
	}
	return exec.Command("unshare", append([]string{"--mount", "sh", "-e", "-c", script, "sh"}, args...)...)
}

// bubblewrap#198: a /proc with hidepid shows a plain user none but what he may trace, and that is not what is in
// somebody else's Set.
func TestHiddenProcessesCannotHideIDMaps(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	path := openPath(t)
	for _, hide := range []string{"1", "2"} {
		t.Run("hidepid="+hide, func(t *testing.T) {
			lines := said(t, apart(t, `mount -t proc -o hidepid=$1 proc /proc
				exec setpriv --reuid 65534 --regid 65534 --clear-groups "$2" own opened`, hide, path))
			expect(t, lines, nil)
		})
	}
}

// shadow#1573: a uid may have several names, and its ranges be those of another name than the first.
func TestRangesOfASecondNameCannotBeMissed(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	needTool(t, "subids", "newuidmap")
	path := openPath(t)
	c := apart(t, `cd "$1"
		(cat /etc/passwd; echo gonso-first:x:64001:64001::/:/bin/sh; echo gonso-second:x:64001:64001::/:/bin/sh) >passwd
		echo gonso-second:300000:65536 >subid
		mount --bind passwd /etc/passwd
		mount --bind subid /etc/subuid
		mount --bind subid /etc/subgid
		exec setpriv --reuid 64001 --regid 64001 --clear-groups "$2" subids`, t.TempDir(), path)
	const want = "[{0 64001 1} {1 300000 65536}], <nil>"
	if lines := said(t, c); lines["subids"] != "ok" || lines["map"] != want {
		t.Errorf("%q, want the map %s", lines, want)
	}
}

// A program that reads and prints nothing needs no /dev/null, which a chroot seldom has.
func TestMissingDevNullCannotKeepWorkOut(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	expect(t, said(t, apart(t, `mount -t tmpfs none /dev
		exec "$1" own opened`, openPath(t))), nil)
}

// crun#545: clone3 answers ENOSYS, by which alone a process is made in a cgroup. It is moved there before it is
// anything.
func TestFilterCannotKeepCommandsOutOfTheirCgroup(t *testing.T) {
	testenv.Need(t, testenv.Cgroup2)
	top := "/sys/fs/cgroup"
	if _, err := os.Stat(top + "/cgroup.controllers"); err != nil {
		top += "/unified"
	}
	dir, err := os.MkdirTemp(top, "gonso-forbid-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Error(err)
		}
	})
	run := forbidden(t)
	const noCgroup = "Cgroup: /: it is not a directory of cgroup v2"
	for _, args := range [][]string{{}, {"-filter", "clone3", "-errno", "38"}, {"-filter", "clone3"}, {"-filter", "clone3", "-kill"}} {
		if lines := run(t, append(args, "cgroup="+dir)...); lines["cgroup"] != "ok" || !strings.Contains(lines["in"], "/"+filepath.Base(dir)+`\n`) {
			t.Errorf("%v: %q", args, lines)
		}
		if lines := run(t, append(args, "cgroup=/")...); !strings.Contains(lines["cgroup"], noCgroup) {
			t.Errorf("%v: %q, want %q in it", args, lines, noCgroup)
		}
	}
}

// Groups of outside open files of outside to whoever has them. Where only a filter keeps them from being dropped,
// nothing starts that has them.
func TestFilterCannotLetGroupsIn(t *testing.T) {
	needRoot(t)
	needUserNS(t)
	needTool(t, "tools", "setpriv")
	path := openPath(t)
	run := func(groups string, args ...string) map[string]string {
		return said(t, exec.Command("setpriv", append([]string{groups, "--", path, "-nnp=false", "-filter", "setgroups", "-inherit"}, args...)...))
	}
	lines := run("--groups=4", "own", "opened")
	for _, use := range []string{"do", "command", "exe"} {
		if came := lines["own "+use]; !strings.Contains(came, "setgroups") || !strings.Contains(came, "operation not permitted") {
			t.Errorf("own %s: %q", use, came)
		}
		if came := lines["opened "+use]; came == "ok" { // mostly it comes to nothing before that
			t.Errorf("opened %s: %q", use, came)
		}
	}
	expect(t, run("--clear-groups", "own", "opened"), nil) // who has none is not kept out
}
