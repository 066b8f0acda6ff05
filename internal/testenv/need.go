package testenv

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// Req is something that a test needs from its environment.
type Req struct {
	name    string   // as in the reason for skipping
	promise []string // entries of GONSO_TEST_REQUIRE that promise it
	missing func() string
}

// Requirements of tests.
var (
	Root    = Req{"root", []string{"root"}, func() string { return notRoot(os.Geteuid()) }}
	Host    = Req{"root of the host", []string{"host"}, func() string { return notHost(os.Geteuid()) }} // not of a user namespace
	Plain   = Req{"a plain user", []string{"plain"}, func() string { return root(os.Geteuid()) }}
	UserNS  = Req{"user namespaces", []string{"userns"}, userNS}
	GoTool  = Req{"the go command", []string{"go"}, func() string { return lookPath("go") }}
	Process = Req{"the process backend", []string{"process"}, noProcess}
	SubIDs  = Req{"subordinate ids", []string{"subids"}, noSubIDs}

	Terminals = Req{"pseudo terminals", []string{"pty"}, noTerminals}
	Cgroup2   = Req{"cgroup v2, to be written to", []string{"cgroup2"}, noCgroup2}

	MemoryCgroup = Req{"cgroups with a limit of memory", []string{"memcg"}, noMemoryCgroup}
	PidsCgroup   = Req{"cgroups with a limit of processes", []string{"pidscg"}, noPidsCgroup}
)

// Tool is a program that can be found.
func Tool(name string) Req {
	return Req{name, []string{name, "tools"}, func() string { return lookPath(name) }}
}

// Need skips the test if one of reqs is missing, with a reason that begins "skip: needs". If
// GONSO_TEST_REQUIRE, a comma separated list, promises the missing one, the test fails instead.
func Need(t testing.TB, reqs ...Req) {
	t.Helper()
	promised := strings.Split(os.Getenv("GONSO_TEST_REQUIRE"), ",")
	for _, r := range reqs {
		why := r.missing()
		if why == "" {
			continue
		}
		if slices.ContainsFunc(r.promise, func(p string) bool { return slices.Contains(promised, p) }) {
			t.Fatalf("needs %s, which GONSO_TEST_REQUIRE promises: %s", r.name, why)
		}
		t.Skipf("skip: needs %s: %s", r.name, why)
	}
}

// features are for Found: only a test itself can find out that one of them is missing.
// GONSO_TEST_REQUIRE promises them by the same names.
var features = map[string]string{
	"binfmt_misc":  "binfmt_misc of user namespaces (Linux 6.7)",
	"cgo":          "a program that is dynamically linked",
	"cgroup2":      "cgroup v2, to be written to",
	"cloexec":      "CLOSE_RANGE_CLOEXEC (Linux 5.11)",
	"close_range":  "close_range (Linux 5.9)",
	"filecaps":     "a file system with file capabilities",
	"freezer":      "the freezer of cgroup v2 (Linux 5.2)",
	"fuse":         "FUSE",
	"gcc":          "gcc",
	"go":           "the go command, with modules",
	"keyrings":     "keyrings",
	"landlock":     "Landlock (Linux 5.13)",
	"memfd_noexec": "vm.memfd_noexec (Linux 6.3)",
	"netdevices":   "virtual network devices and nftables",
	"nslinks":      "a kernel that refuses links to others' namespaces",
	"norace":       "memory as it is without the race detector",
	"notime":       "a kernel without time namespaces, as those of arm",
	"overlay":      "overlayfs",
	"pages":        "small pages",
	"plain":        "a plain user",
	"process":      "the process backend",
	"ptrace":       "ptrace",
	"pty":          "pseudo terminals",
	"qemu-user":    "programs of qemu-user",
	"rights":       "rights that this user has not got",
	"root":         "root",
	"runc":         "runc",
	"signals":      "signals that are not ignored from the start",
	"source":       "the source",
	"subids":       "a user with subordinate ids",
	"suid":         "a file system with setuid programs",
	"time":         "time namespaces (Linux 5.6)",
	"tools":        "a tool of the system",
	"userns":       "user namespaces",
	"userns_clone": "kernel.unprivileged_userns_clone of Debian, on a machine of the test's own",
}

// Found is Need for a feature that only the test itself can find out about. missing says why the
// feature is missing. If missing is nil, the feature is there.
func Found(t testing.TB, what string, missing error) {
	t.Helper()
	name, ok := features[what]
	if !ok {
		t.Fatalf("there is no requirement %q", what)
	}
	if missing != nil {
		Need(t, Req{name, []string{what}, missing.Error})
	}
}

// Has reports whether all of reqs are there. It is for tests that do more if they can.
func Has(reqs ...Req) bool {
	return !slices.ContainsFunc(reqs, func(r Req) bool { return r.missing() != "" })
}

func notRoot(uid int) string {
	if uid == 0 {
		return ""
	}
	return fmt.Sprintf("effective uid is %d", uid)
}

func notHost(uid int) string {
	maps, err := os.ReadFile("/proc/self/uid_map")
	if err == nil && strings.Join(strings.Fields(string(maps)), " ") != "0 0 4294967295" {
		return "this is inside a user namespace"
	}
	return notRoot(uid)
}

func root(uid int) string {
	if uid == 0 {
		return "effective uid is 0"
	}
	return ""
}

func noTerminals() string {
	for _, path := range []string{"/dev/ptmx", "/dev/pts/ptmx"} {
		if _, err := os.Stat(path); err != nil {
			return err.Error()
		}
	}
	f, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return err.Error()
	}
	f.Close()
	return ""
}

// noCgroup2 looks for cgroup v2, mounted alone or beside v1.
func noCgroup2() string {
	for _, top := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(top + "/cgroup.controllers"); err != nil {
			continue
		}
		dir, err := os.MkdirTemp(top, "gonso-test-")
		if err == nil {
			err = os.Remove(dir)
		}
		if err != nil {
			return err.Error()
		}
		return ""
	}
	return "it is not mounted"
}

// launchers repeats the architectures of internal/launcher: if a launcher is missing there, a test
// fails here.
var launchers = []string{"386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x"}

func noProcess() string {
	if runtime.GOOS == "linux" && slices.Contains(launchers, runtime.GOARCH) {
		return ""
	}
	return "none on " + runtime.GOOS + "/" + runtime.GOARCH
}

// lookPath also looks in the directories of administrators' tools: a plain user's PATH often leaves
// those out.
func lookPath(name string) string {
	if _, err := LookPath(name); err != nil {
		return err.Error()
	}
	return ""
}

// LookPath is exec.LookPath that looks in /usr/sbin and /sbin last.
func LookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin/", "/sbin/"} {
		if path, err := exec.LookPath(dir + name); err == nil {
			return path, nil
		}
	}
	return "", err
}
