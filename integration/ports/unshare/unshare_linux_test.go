package unshare

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/moby/sys/reexec"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m, gonso.Init) }

func init() {
	testenv.Program("maybe", func() { maybe(false) })
	testenv.Program("maybe even for root", func() { maybe(true) })
	testenv.Program("waits", func() {
		got := make(chan os.Signal, 1)
		signal.Notify(got, syscall.SIGTERM)
		MaybeReexecUsingUserNamespace(false)
		fmt.Println("ready")
		fmt.Println(<-got)
		os.Exit(7)
	})
	reexec.Register("unshare.report", func() { tell() })
}

// report is what a program says of itself.
type report struct {
	Args                 []string
	Namespaces           map[string]string
	UIDMap, GIDMap       []specs.LinuxIDMapping
	EUID, UID, GID       int
	Rootless             bool
	Isolation, Setgroups string
	Group, Session, Adj  int
	Written              string
}

var types = []string{"ipc", "mnt", "net", "pid", "user", "uts"}

func maybe(evenForRoot bool) {
	MaybeReexecUsingUserNamespace(evenForRoot)
	tell()
	os.Exit(3)
}

func tell() {
	r := report{Args: os.Args, Namespaces: make(map[string]string), EUID: os.Geteuid(), UID: GetRootlessUID(), GID: GetRootlessGID(),
		Rootless: IsRootless(), Isolation: os.Getenv("BUILDAH_ISOLATION"), Group: unix.Getpgrp()}
	for _, typ := range types {
		r.Namespaces[typ], _ = os.Readlink("/proc/self/ns/" + typ)
	}
	r.UIDMap, r.GIDMap, _ = GetHostIDMappings("")
	r.Session, _ = unix.Getsid(0)
	b, _ := os.ReadFile("/proc/self/setgroups")
	r.Setgroups = strings.TrimSpace(string(b))
	b, _ = os.ReadFile("/proc/self/oom_score_adj")
	r.Adj, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	if len(os.Args) > 1 && os.Args[1] == "second" { // a file of the second id, which needs the subordinate ones
		file := filepath.Join(os.Args[2], "file")
		r.Written = fmt.Sprint(errors.Join(os.WriteFile(file, nil, 0o600), os.Chown(file, 1, 1)))
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		panic(err)
	}
}

// run has a program of this test binary report, and returns its exit status.
func run(t *testing.T, program string, env []string, args ...string) (r report, status int) {
	t.Helper()
	c := exec.Command("/proc/self/exe", args...)
	c.Env = append(append(os.Environ(), testenv.ProgramEnv+"="+program), env...)
	c.Stderr = os.Stderr
	out, err := c.Output()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return r, c.ProcessState.ExitCode()
}

// differ checks in which namespaces a program was that this test is not in.
func differ(t *testing.T, r report, want ...string) {
	t.Helper()
	for _, typ := range types {
		wanted := false
		for _, w := range want {
			wanted = wanted || w == typ
		}
		if got := r.Namespaces[typ]; got == "" || (got != testenv.Home(typ)) != wanted {
			t.Errorf("%s: in %q, here is %q; another is wanted: %t", typ, got, testenv.Home(typ), wanted)
		}
	}
}

func TestPlainUsersProgramsBecomeRootWithAllTheirIDs(t *testing.T) {
	testenv.Need(t, testenv.Plain, testenv.UserNS, testenv.SubIDs)
	testenv.Leaks(t)
	dir := t.TempDir()
	r, status := run(t, "maybe", nil, "second", dir)
	differ(t, r, "user", "mnt")
	if status != 3 || r.EUID != 0 || r.UID != os.Getuid() || r.GID != os.Getgid() || !r.Rootless {
		t.Errorf("status %d, %+v", status, r)
	}
	if len(r.Args) != 3 || r.Args[0] != "/proc/self/exe-in-a-user-namespace" || r.Args[1] != "second" {
		t.Errorf("%q", r.Args)
	}
	if r.Isolation != "rootless" || r.Setgroups != "allow" {
		t.Errorf("%q, %q", r.Isolation, r.Setgroups)
	}
	for i, maps := range [][]specs.LinuxIDMapping{r.UIDMap, r.GIDMap} {
		own := []int{os.Getuid(), os.Getgid()}[i]
		if len(maps) < 2 || maps[0] != (specs.LinuxIDMapping{HostID: uint32(own), Size: 1}) || maps[1].ContainerID != 1 {
			t.Errorf("%+v", maps)
		}
	}
	fi, err := os.Lstat(filepath.Join(dir, "file"))
	if err != nil || r.Written != "<nil>" || fi.Sys().(*syscall.Stat_t).Uid != r.UIDMap[1].HostID {
		t.Errorf("%+v, %v, %s", fi, err, r.Written)
	}
}

func TestProgramsWithoutSubordinateIDsHaveTheirOwn(t *testing.T) {
	testenv.Need(t, testenv.Plain, testenv.UserNS)
	testenv.Leaks(t)
	r, status := run(t, "maybe", []string{"PATH=" + t.TempDir(), "BUILDAH_ISOLATION=chroot"})
	differ(t, r, "user", "mnt")
	if want := []specs.LinuxIDMapping{{HostID: uint32(os.Getuid()), Size: 1}}; !reflect.DeepEqual(r.UIDMap, want) || status != 3 || r.EUID != 0 {
		t.Errorf("status %d, %+v", status, r)
	}
	if r.Setgroups != "deny" || r.Isolation != "chroot" {
		t.Errorf("%q, %q", r.Setgroups, r.Isolation)
	}
}

func TestRootStaysWhereItIs(t *testing.T) {
	testenv.Need(t, testenv.Host)
	testenv.Leaks(t)
	r, status := run(t, "maybe", nil)
	differ(t, r)
	if status != 3 || r.Rootless || r.UID != 0 || r.GID != 0 || r.Isolation != "" {
		t.Errorf("status %d, %+v", status, r)
	}
}

// In the original root is run again and again, until the name is too long for memfd_create(2).
func TestEvenRootIfAsked(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	r, status := run(t, "maybe even for root", nil)
	differ(t, r, "user", "mnt")
	if status != 3 || r.EUID != 0 || !r.Rootless || r.UIDMap[0] != (specs.LinuxIDMapping{Size: 1}) {
		t.Errorf("status %d, %+v", status, r)
	}
}

func TestRootWithoutPrivilegesMapsAllIDsToThemselves(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tool("setpriv"), testenv.UserNS)
	testenv.Leaks(t)
	c := exec.Command("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "/proc/self/exe")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c.Args[len(c.Args)-1] = exe
	c.Env, c.Stderr = append(os.Environ(), testenv.ProgramEnv+"=maybe"), os.Stderr
	out, _ := c.Output()
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	differ(t, r, "user", "mnt")
	own, _, err := GetHostIDMappings("self")
	if err != nil {
		t.Fatal(err)
	}
	for i := range own {
		own[i].HostID = own[i].ContainerID
	}
	if !r.Rootless || !reflect.DeepEqual(r.UIDMap, own) {
		t.Errorf("%+v, want %+v", r, own)
	}
}

func TestWhoWasRunAgainIsNotRunAgain(t *testing.T) {
	testenv.Need(t, testenv.Plain, testenv.UserNS)
	testenv.Leaks(t)
	s, err := gonso.Unshare(gonso.User)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := s.Self(t.Context())
	c.Env = append(os.Environ(), testenv.ProgramEnv+"=maybe", uidEnv+"=1234")
	out, _ := c.Output()
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	differ(t, r, "user")
	if r.UID != 1234 || r.GID != 0 || len(r.Args) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestSignalsAndStatusPass(t *testing.T) {
	testenv.Need(t, testenv.UserNS)
	testenv.Leaks(t)
	c := exec.Command("/proc/self/exe")
	c.Env, c.Stderr = append(os.Environ(), testenv.ProgramEnv+"=waits"), os.Stderr
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Process.Kill()
	r := bufio.NewReader(stdout)
	if line, err := r.ReadString('\n'); line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	rest, _ := io.ReadAll(r)
	_ = c.Wait()
	if string(rest) != "terminated\n" || c.ProcessState.ExitCode() != 7 {
		t.Errorf("%q, %v", rest, c.ProcessState)
	}
}

// told has a Cmd report.
func told(t *testing.T, c *Cmd) (r report) {
	t.Helper()
	var out strings.Builder
	c.Stdout, c.Stderr = &out, os.Stderr
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if !c.ProcessState.Success() {
		t.Error(c.ProcessState)
	}
	if err := json.Unmarshal([]byte(out.String()), &r); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	return r
}

func TestCmdIsInWhatItsFlagsSay(t *testing.T) {
	testenv.Need(t, testenv.UserNS)
	testenv.Leaks(t)
	for name, flag := range map[string]int{"ipc": unix.CLONE_NEWIPC, "net": unix.CLONE_NEWNET, "mnt": unix.CLONE_NEWNS, "uts": unix.CLONE_NEWUTS, "user": 0} {
		c := Command("unshare.report")
		c.UnshareFlags = unix.CLONE_NEWUSER | flag
		c.UidMappings = []specs.LinuxIDMapping{{HostID: uint32(os.Getuid()), Size: 1}}
		c.GidMappings = []specs.LinuxIDMapping{{HostID: uint32(os.Getgid()), Size: 1}}
		r := told(t, c)
		differ(t, r, name, "user")
		if r.EUID != 0 || r.Setgroups != "deny" || !reflect.DeepEqual(r.UIDMap, c.UidMappings) || !reflect.DeepEqual(r.GIDMap, c.GidMappings) {
			t.Errorf("%+v", r)
		}
	}
	differ(t, told(t, Command("unshare.report")))
}

func TestCmdHasGroupSessionAndScore(t *testing.T) {
	testenv.Leaks(t)
	session, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, own := range []bool{false, true} {
		c := Command("unshare.report")
		c.Setpgrp = own
		if r := told(t, c); (r.Group != unix.Getpgrp()) != own || r.Session != session {
			t.Errorf("Setpgrp %t: %+v", own, r)
		}
		c = Command("unshare.report")
		c.Setsid = own
		if r := told(t, c); (r.Session != session) != own {
			t.Errorf("Setsid %t: %+v", own, r)
		}
	}
	for _, adj := range []int{500, 600} {
		c := Command("unshare.report")
		c.OOMScoreAdj = &adj
		if r := told(t, c); r.Adj != adj {
			t.Errorf("%d: %+v", adj, r)
		}
	}
}

func TestIDMapsOfProcesses(t *testing.T) {
	testenv.Leaks(t)
	own, _, err := GetHostIDMappings("")
	if err != nil || len(own) == 0 {
		t.Errorf("%v, %v", own, err)
	}
	same, _, err := GetHostIDMappings(strconv.Itoa(os.Getpid()))
	if err != nil || !reflect.DeepEqual(same, own) {
		t.Errorf("%v, %v; want %v", same, err, own)
	}
	for _, pid := range []string{"all", "0x1"} {
		if _, _, err := GetHostIDMappings(pid); err == nil {
			t.Errorf("%q is a process", pid)
		}
	}
}
