package gonso

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// onThreadWithout runs f on a thread that lacks capabilities, from 0 to 31.
func onThreadWithout(t testing.TB, f func(), caps ...uint) {
	t.Helper()
	testenv.OnThread(func() {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&hdr, &data[0])
		for _, c := range caps {
			data[0].Effective &^= 1 << c
			data[0].Permitted &^= 1 << c
		}
		if err == nil {
			err = unix.Capset(&hdr, &data[0])
		}
		if err != nil {
			t.Error(err)
			return
		}
		f()
	})
}

// openTo lets other users have this test binary, as another file, and run it.
func openTo(t testing.TB, c *exec.Cmd, arg int) {
	t.Helper()
	dir := t.TempDir()
	for at := dir; at != os.TempDir(); at = filepath.Dir(at) {
		if err := os.Chmod(at, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "tests"), b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Args[arg] = filepath.Join(dir, "tests")
	if arg == 0 {
		c.Path = c.Args[0]
	}
	c.Env = append(c.Env, "TMPDIR=/tmp", "GONSO_TEST_REQUIRE=")
}

// containers/podman#8816, okd-project/okd#1127: EPERM, and nobody knows of which map, or why.
func TestRefusedIDMapCannotHideItsCause(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	one := []IDMap{{0, 0, 1}}
	outer := unshare(t, User)
	_, err := outer.Unshare(User, IDMaps([]IDMap{{0, 5, 1}}, one))
	wantError(t, "nested, uid not mapped", err, unix.EPERM, "uid map, line 0 (0 5 1)", "not mapped in the Set's user namespace (mapped: 0)")
	_, err = outer.Unshare(User, IDMaps(one, []IDMap{{0, 0, 2}}))
	wantError(t, "nested, gid not mapped", err, unix.EPERM, "gid map, line 0 (0 0 2)", "not all mapped in the Set's user namespace")
	none := unshare(t, User, NoIDMaps())
	_, err = none.Unshare(User)
	wantError(t, "below one without maps", err, unix.EPERM, "the Set's user namespace maps neither uid 0 nor that of this process, "+fmt.Sprint(os.Geteuid()))

	if !testenv.Has(testenv.Root) {
		needTools(t)
		_, err = Unshare(User, IDMaps([]IDMap{{0, 5, 65536}}, one))
		wantError(t, "a plain user", err, unix.EPERM, "IDMaps: uid map, line 0 (0 5 65536)", "uid map: without CAP_SETUID", fmt.Sprint(os.Geteuid()), "SubIDs")
		_, err = Unshare(User, IDMaps([]IDMap{{0, uint32(os.Geteuid()), 1}}, []IDMap{{0, 90000, 1}}))
		wantError(t, "a plain user's gid", err, unix.EPERM, "IDMaps: gid map, line 0 (0 90000 1)", "gid map: without CAP_SETGID", fmt.Sprint(os.Getegid()))
		return
	}
	two := []IDMap{{0, 100000, 10}, {10, 200000, 10}}
	wide := unshare(t, User, IDMaps(two, two))
	_, err = wide.Unshare(User, IDMaps(one, []IDMap{{0, 5, 10}}))
	wantError(t, "nested, two extents", err, unix.EPERM, "gid map, line 0 (0 5 10)", "several lines", "begin another at 10")
	owned(t)(wide.Unshare(User, IDMaps(one, []IDMap{{0, 5, 5}, {5, 10, 5}}))) // as it says

	if testenv.Has(testenv.Linux(5, 12)) {
		onThreadWithout(t, func() {
			_, err := Unshare(User)
			wantError(t, "root without CAP_SETFCAP", err, unix.EPERM, "uid map, line 0 (0 0 1)", "CAP_SETFCAP")
			s, err := Unshare(User, IDMaps([]IDMap{{0, 1, 1}}, one))
			if err != nil {
				t.Errorf("root without CAP_SETFCAP, where it is not needed: %v", err)
				return
			}
			s.Close()
		}, unix.CAP_SETFCAP)
	}
	subIDsIn(t, "", "")
	setuidTools(t, map[string]string{"newuidmap": "exit 1", "newgidmap": "exit 1"})
	onThreadWithout(t, func() {
		_, err := Unshare(User, IDMaps([]IDMap{{0, 1, 1}}, one))
		wantError(t, "root without any", err, unix.EPERM, "uid map: without CAP_SETUID", "effective uid, 0")
	}, unix.CAP_SETFCAP, unix.CAP_SETUID, unix.CAP_SETGID, unix.CAP_SYS_ADMIN)
}

// okd-project/okd#1127: inside a user namespace only its ids can be mapped, with all capabilities.
func TestIDMapsInsideAUserNamespaceCannotHideTheirCause(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("unshare"))
	if testenv.IsAgain(t) {
		_, err := Unshare(User, IDMaps([]IDMap{{0, 100000, 65536}}, []IDMap{{0, 0, 1}}))
		wantError(t, "in a user namespace", err, unix.EPERM, "uid map, line 0 (0 100000 65536)", "not all mapped in this process's user namespace (mapped: 0)")
		return
	}
	testenv.RunAgain(t, testenv.Again(t, "unshare", "-r"))
}

// containerd/containerd#10742: what was denied above is denied below, whatever is asked for.
func TestSetgroupsCannotBeAllowedInVain(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("unshare"))
	testenv.Leaks(t)
	outer := unshare(t, User, Setgroups(false))
	_, err := outer.Unshare(User, Setgroups(true))
	wantError(t, "nested", err, unix.EPERM, "unshare user: Setgroups(true)", "denied in the Set's user namespace")
	_, err = outer.Unshare(User, NoIDMaps(), Setgroups(true))
	wantError(t, "nested, without maps", err, unix.EPERM, "unshare user: Setgroups(true)")
	if p := goIn(t, owned(t)(outer.Unshare(User))); p.Setgroups != "deny" {
		t.Errorf("not asked for: %s", p.Setgroups)
	}
	if testenv.IsAgain(t) { // where this process's own has it denied
		for name, opts := range map[string][]UnshareOption{
			"below": nil, "without maps": {NoIDMaps()}, "with SubIDs": {SubIDs()},
		} {
			_, err := Unshare(User, append(opts, Setgroups(true))...)
			wantError(t, name, err, unix.EPERM, "unshare user: Setgroups(true)", "denied in this process's user namespace")
		}
		return
	}
	if testenv.Has(testenv.Root) {
		open := unshare(t, User)
		if p := goIn(t, owned(t)(open.Unshare(User, Setgroups(true)))); p.Setgroups != "allow" {
			t.Errorf("allowed above: %s", p.Setgroups)
		}
	} else {
		_, err := Unshare(User, Setgroups(true))
		wantError(t, "a plain user", err, unix.EPERM, "unshare user: Setgroups(true)", "lacks CAP_SETGID", "SubIDs")
	}
	testenv.RunAgain(t, testenv.Again(t, "unshare", "-r"))
}

// Setgroups(false) was forgotten where no maps were written, and so whoever writes them got a
// namespace in which groups can be dropped.
func TestSetgroupsCannotBeForgottenWithoutMaps(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	s := unshare(t, User, NoIDMaps(), Setgroups(false))
	if p := goIn(t, s); p.Setgroups != "deny" || procFile(t, p.PID, "setgroups") != "deny" {
		t.Errorf("setgroups is %s", p.Setgroups)
	}
}

// What Credential asks for and cannot be had is named, not the system call alone.
func TestRefusedCredentialCannotHideItsCause(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("true"))
	testenv.Leaks(t)
	s := unshare(t, User, Setgroups(false))
	try := func(s *Set, cr Credential, caps ...uintptr) error {
		c := s.Command(context.Background(), "true")
		c.Credential, c.AmbientCaps = &cr, caps
		return c.Run()
	}
	wantError(t, "all wrong", try(s, Credential{UID: 7, GID: 8}), unix.EPERM,
		"gonso: start: Credential: setgroups", "uid 7 is not mapped in the Set's user namespace (mapped: 0)", "gid 8 is not mapped there", "set NoSetGroups")
	wantError(t, "uid", try(s, Credential{UID: 7, NoSetGroups: true}), unix.EINVAL, "gonso: start: Credential: setresuid", "(uid 7 is not mapped")
	wantError(t, "gid", try(s, Credential{GID: 8, NoSetGroups: true}), unix.EINVAL, "gonso: start: Credential: setresgid", "(gid 8 is not mapped")
	wantError(t, "capability", try(s, Credential{NoSetGroups: true}, 60), unix.EINVAL, "gonso: start: AmbientCaps", "no capability 60")
	if testenv.Has(testenv.Root) {
		allowed := unshare(t, User)
		wantError(t, "groups", try(allowed, Credential{Groups: []uint32{9}}), unix.EINVAL, "gonso: start: Credential: setgroups", "(gid 9 is not mapped")
	} else {
		wantError(t, "a plain user", try(new(Set), Credential{UID: 7, NoSetGroups: true}), unix.EPERM,
			"gonso: start: Credential: setres", "lacks CAP_SETUID", "user namespace of its own")
	}
}

// A limit that is refused is named, with what is allowed.
func TestRefusedRlimitCannotHideItsCause(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	try := func(r Rlimit) error {
		s := unshare(t, User)
		if err := s.SetWorker(Worker{Rlimits: []Rlimit{r}}); err != nil {
			t.Fatal(err)
		}
		return s.Warm(context.Background())
	}
	wantError(t, "above fs.nr_open", try(Rlimit{unix.RLIMIT_NOFILE, 1 << 40, 1 << 40}), unix.EPERM,
		"gonso: start worker: Worker.Rlimits: RLIMIT_NOFILE", "fs.nr_open")
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_RTPRIO, &now); err != nil {
		t.Fatal(err)
	}
	if now.Max != unix.RLIM_INFINITY && !hasCapability(unix.CAP_SYS_RESOURCE) {
		wantError(t, "above the hard limit", try(Rlimit{unix.RLIMIT_RTPRIO, 0, now.Max + 1}), unix.EPERM,
			"Worker.Rlimits: RLIMIT_RTPRIO", fmt.Sprintf("hard limit of this process is %d", now.Max), "CAP_SYS_RESOURCE")
	}
}

// containers/bubblewrap#615: the limit that counts is that of the Set's user namespace.
func TestLimitOfTheSetCannotBeTakenForThisProcesss(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("sh"))
	testenv.Leaks(t)
	outer := unshare(t, User)
	inner := owned(t)(outer.Unshare(User))
	limit := func(s *Set, n int) {
		t.Helper()
		out, err := s.Command(context.Background(), "sh", "-c", fmt.Sprintf("echo %d > /proc/sys/user/max_net_namespaces", n)).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	own, _ := sysctl("user/max_net_namespaces")
	limit(outer, 0)
	_, err := outer.Unshare(Net)
	wantError(t, "the Set's", err, unix.ENOSPC, "user.max_net_namespaces is 0 in the Set's user namespace")
	_, err = inner.Unshare(Net)
	wantError(t, "one above", err, unix.ENOSPC, "user.max_net_namespaces is 0 in a user namespace above the Set's")
	limit(outer, 1)
	owned(t)(outer.Unshare(Net))
	_, err = outer.Unshare(Net)
	wantError(t, "reached", err, unix.ENOSPC, "possibly", "user.max_net_namespaces of 1 is reached in the Set's user namespace")
	if now, _ := sysctl("user/max_net_namespaces"); now != own {
		t.Errorf("this process's own limit is %d, was %d", now, own)
	}
}

// Whose process cannot be looked at is said, and what it takes.
func TestNamespacesOfAnothersProcessCannotBeRefusedWithoutAReason(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tool("sleep"))
	testenv.Leaks(t)
	c := exec.Command("sleep", "600")
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 23456}}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	defer c.Wait()
	defer c.Process.Kill()
	onThreadWithout(t, func() {
		for name, open := range map[string]func() (*Set, error){
			"FromPID": func() (*Set, error) { return FromPID(c.Process.Pid, Net) },
			"FromDir": func() (*Set, error) { return FromDir(fmt.Sprintf("/proc/%d/ns", c.Process.Pid), Net) },
			"Open":    func() (*Set, error) { return Open(fmt.Sprintf("/proc/%d/ns/net", c.Process.Pid)) },
		} {
			_, err := open()
			wantError(t, name, err, unix.EACCES, fmt.Sprintf("right to trace process %d", c.Process.Pid), "uid 12345 and gid 23456", "CAP_SYS_PTRACE")
		}
	}, unix.CAP_SYS_PTRACE)
}

// rootless-containers/rootlesskit#17: /proc/self/fd/5 says nothing to anybody, and the limit does.
func TestLimitOfProcessesCannotBeToldAsADescriptor(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("true"))
	if !testenv.IsAgain(t) {
		if testenv.Has(testenv.Plain) {
			testenv.RunAgain(t, testenv.Again(t))
			return
		}
		testenv.Need(t, testenv.Root)
		c := testenv.Again(t)
		openTo(t, c, 0)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
		testenv.RunAgain(t, c)
		return
	}
	s := unshare(t, User)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	testenv.HaveThreads(20)
	var old unix.Rlimit
	if err := unix.Prlimit(0, unix.RLIMIT_NPROC, &unix.Rlimit{Cur: 1, Max: unix.RLIM_INFINITY}, &old); err != nil {
		if err = unix.Getrlimit(unix.RLIMIT_NPROC, &old); err == nil {
			err = unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: 1, Max: old.Max})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	made, uerr := Unshare(User)
	cerr := s.Command(context.Background(), "true").Run()
	werr := s.Warm(context.Background())
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &old); err != nil {
		t.Fatal(err)
	}
	if made != nil {
		made.Close()
	}
	for name, err := range map[string]error{"Unshare": uerr, "Command": cerr, "worker": werr} {
		wantError(t, name, err, unix.EAGAIN, fmt.Sprintf("uid %d has ", os.Getuid()), "RLIMIT_NPROC of this process allows 1")
		if err != nil && strings.Contains(err.Error(), "/proc/self/fd") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// shadow-maint/shadow#304: a program of another group, as after newgrp(1), or of a user without a name.
func TestOtherGroupCannotFailWithoutAReason(t *testing.T) {
	if testenv.IsAgain(t) {
		line := fmt.Sprintf("%d:700000:10\n", os.Getuid())
		subIDsIn(t, line, line)
		loginDefs = "/nonexistent"
		if os.Getgid() != os.Getegid() {
			p := goIn(t, unshare(t, User|Mount|Net)) // the launcher, which exec leaves undumpable, can be looked at
			if want := fmt.Sprintf("0 %d 1", os.Getegid()); p.GIDMap != want || procFile(t, p.PID, "gid_map") != want {
				t.Errorf("gid map %s, want %s", p.GIDMap, want)
			}
			_, err := Unshare(User, SubIDs())
			wantError(t, "egid", err, unix.EPERM, "newgidmap", "real gid", "effective one")
			return
		}
		_, err := Unshare(User, SubIDs())
		if os.Getuid() == 4711 {
			wantError(t, "no name", err, unix.EPERM, "unshare user /", "newuidmap", "name", "4711")
			return
		}
		wantError(t, "newgrp", err, unix.EPERM, "unshare user /", "newuidmap", "primary group alone", fmt.Sprintf("gid %d", os.Getgid()), "newgrp")
		return
	}
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process, testenv.Tool("setpriv"), testenv.Tool("newuidmap"), testenv.Tool("newgidmap"), testenv.Tool("getent"))
	uid, gid := someoneWithSubIDs(t)
	for name, ids := range map[string][]string{
		"newgrp": {fmt.Sprintf("--reuid=%d", uid), "--regid=50"},
		"nobody": {"--reuid=4711", "--regid=4711"},
		"setgid": {fmt.Sprintf("--reuid=%d", uid), fmt.Sprintf("--rgid=%d", gid), "--egid=50"},
	} {
		t.Run(name, func(t *testing.T) {
			c := testenv.Again(t, append(append([]string{"setpriv"}, ids...), "--clear-groups")...)
			c.Args = append(c.Args[:len(c.Args)-2], "-test.run=^TestOtherGroupCannotFailWithoutAReason$", "-test.v")
			c.Env = append(c.Env, "GONSO_TEST_AGAIN=TestOtherGroupCannotFailWithoutAReason")
			openTo(t, c, len(c.Args)-3)
			if out, err := c.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestOtherGroup") {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

func init() {
	testenv.Program("ids: in a chroot", func() {
		err := unix.Chroot(os.Args[1])
		if err == nil {
			err = os.Chdir("/")
		}
		if err == nil {
			var s *Set
			if s, err = Unshare(User); err == nil {
				s.Close()
				err = errors.New("the kernel made a user namespace")
			}
		}
		fmt.Println(err)
	})
}

// rootless-containers/rootlesskit#17: that there is no /dev/null is not why.
func TestMissingDevNullCannotHideTheCause(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	dir := t.TempDir()
	err := os.Mkdir(dir+"/proc", 0o755)
	if err == nil {
		err = unix.Mount("proc", dir+"/proc", "proc", 0, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir+"/proc", unix.MNT_DETACH)
	out, err := testenv.Command(t, "ids: in a chroot", dir).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "in a chroot, where the kernel allows no new user namespaces") {
		t.Errorf("%v: %s", err, out)
	}
}
