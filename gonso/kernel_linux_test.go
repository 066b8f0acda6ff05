package gonso

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// The rules of the kernel, each shown on the real one and looked at from
// outside. The rules of what happens to threads are in thread_linux_test.go.

func TestThreadMakesAndEnters(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	for _, c := range []struct {
		typ       Type
		givenBack bool
	}{
		{Cgroup, true}, {Net, true}, {UTS, true},
		{IPC, false},   // setns takes the thread off the process's shared SysV undo list
		{Mount, false}, // CLONE_FS, once unshared, cannot be shared again
		{Net | UTS | Cgroup, true},
		{Net | IPC, false},
		{Cgroup | IPC | Mount | Net | UTS, false},
	} {
		t.Run(c.typ.String(), func(t *testing.T) {
			children := countChildren(t)
			s := unshare(t, c.typ)
			in := foreign(t, s)
			if s.Types() != c.typ || len(in) != len(singles(c.typ)) {
				t.Fatalf("made %v, new are %v", s, in)
			}
			r := s.Plan().Closures
			if r.Backend != ThreadBackend || r.GivenBack != c.givenBack || r.Err != nil {
				t.Errorf("plan %v", r)
			}
			h := hold(t, s, true, nil)
			wantLinks(t, os.Getpid(), h.tid, in)
			wantLinks(t, os.Getpid(), os.Getpid(), nil)
			wantLinks(t, os.Getpid(), unix.Gettid(), nil)
			if n := countChildren(t); n != children {
				t.Errorf("%d child processes more", n-children)
			}
			if err := h.end(); err != nil {
				t.Error(err)
			}
			if c.givenBack {
				wantThreadGivenBack(t, h.tid)
			} else {
				wantThreadGone(t, h.tid)
			}
		})
	}
}

func countChildren(t testing.TB) int {
	t.Helper()
	n := 0
	for _, tid := range tasks(t) {
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", tid))
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			t.Fatal(err)
		}
		n += len(bytes.Fields(b))
	}
	return n
}

// Without privileges a thread makes nothing, and the error says what would help.
func TestPlainUserNeedsUserNamespace(t *testing.T) {
	testenv.Need(t, testenv.Plain)
	for _, typ := range []Type{Cgroup, IPC, Mount, Net, UTS, Net | UTS} {
		_, err := Unshare(typ)
		wantError(t, typ.String(), err, unix.EPERM, "unshare "+typ.String(), "CAP_SYS_ADMIN", "user namespace")
	}
	testenv.Need(t, testenv.UserNS)
	pid := sleeper(t, User|Net)
	s := owned(t)(FromPID(pid, Net))
	ran := false
	err := s.Do(true, func() bool { ran = true; return true })
	wantError(t, "a net namespace without the user namespace that owns it", err, unix.EPERM, "setns net", "CAP_SYS_ADMIN", "possibly")
	if ran {
		t.Error("the closure ran outside")
	}
	s = owned(t)(FromPID(pid, User, Net))
	if p := goIn(t, s); p.NS["net"] != idOf(t, s, Net) || p.NS["user"] != idOf(t, s, User) {
		t.Errorf("with it: in %v", p.NS)
	}
}

// A thread in a mount namespace has root and working directory of its own; those
// of the process stay as they are.
func TestMountLeavesProcessRootAndCwd(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s := unshare(t, Mount)
	inside := t.TempDir()
	cwd, root := stat(t, "/proc/self/cwd"), stat(t, "/proc/self/root")
	h := hold(t, s, true, func() {
		if err := errors.Join(unix.Chroot(inside), unix.Chdir("/"), os.Mkdir("/made-inside", 0o700)); err != nil {
			t.Error(err)
		}
	})
	task := "/proc/self/task/" + strconv.Itoa(h.tid)
	if stat(t, task+"/root") != stat(t, inside) || stat(t, task+"/cwd") != stat(t, inside) {
		t.Error("the closure's thread did not change its root and cwd")
	}
	for _, tid := range tasks(t) {
		if tid == h.tid {
			continue
		}
		task := "/proc/self/task/" + strconv.Itoa(tid)
		if c, r := stat(t, task+"/cwd"), stat(t, task+"/root"); (c != cwd || r != root) && threadLives(tid) {
			t.Errorf("thread %d: cwd %v root %v, were %v %v", tid, c, r, cwd, root)
		}
	}
	if err := h.end(); err != nil {
		t.Error(err)
	}
	wantThreadGone(t, h.tid)
	if stat(t, "/proc/self/cwd") != cwd || stat(t, "/proc/self/root") != root || stat(t, ".") != cwd {
		t.Error("the process's root or cwd has changed")
	}
}

// stat identifies a file; zero if it is gone.
func stat(t testing.TB, path string) (id [2]uint64) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil && err != unix.ENOENT {
		t.Fatalf("%s: %v", path, err)
	}
	return [2]uint64{uint64(st.Dev), st.Ino}
}

var _ = testenv.AlsoNested(TestUserNamespaceNeverGivesEINVAL)

// golang/go#22283: EINVAL on user namespaces from Go threads.
func TestUserNamespaceNeverGivesEINVAL(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	s := unshare(t, User|UTS)
	f, err := s.File(User)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var unshareErr, setnsErr error
	testenv.OnThread(func() { // what the kernel says
		unshareErr = unix.Unshare(unix.CLONE_NEWUSER)
		setnsErr = unix.Setns(int(f.Fd()), unix.CLONE_NEWUSER)
	})
	if unshareErr != unix.EINVAL || setnsErr != unix.EINVAL {
		t.Errorf("raw unshare %v, setns %v; the rule is EINVAL", unshareErr, setnsErr)
	}
	wantNeedsProcess(t, s, "user")
	if p := goIn(t, s); p.NS["user"] != idOf(t, s, User) || p.UID != 0 {
		t.Errorf("in a process: %s, uid %d", p.NS["user"], p.UID)
	} else {
		wantLinks(t, p.PID, 0, foreign(t, s))
	}
}

// wantNeedsProcess checks that closures and InThread are refused without effect.
func wantNeedsProcess(t testing.TB, s *Set, types string) {
	t.Helper()
	ran := false
	for what, err := range map[string]error{
		"Do":   s.Do(true, func() bool { ran = true; return true }),
		"Run":  s.Run(func() error { ran = true; return nil }),
		"Plan": s.Plan().Closures.Err,
	} {
		wantError(t, what, err, ErrNeedsProcess, types, "gonso.Register", "Func.Do")
	}
	_, err := where.Do(context.Background(), s, struct{}{}, InThread())
	wantError(t, "InThread", err, ErrNeedsProcess, types, "leave InThread out")
	if ran {
		t.Error("a closure ran")
	}
}

var _ = testenv.AlsoNested(TestTimeNamespace)

func TestTimeNamespace(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tool("unshare"), testenv.Tool("sleep"), testenv.TimeNS)
	testenv.Leaks(t)
	if out, err := exec.Command("unshare", "--time", "--fork", "true").CombinedOutput(); err != nil {
		testenv.Found(t, "tools", fmt.Errorf("unshare --time, of util-linux 2.36: %v: %s", err, out))
	}
	// --fork: offsets hold for children only.
	pid := descendant(t, "unshare", "--time", "--boottime", "123456789", "--fork", "--kill-child", "sleep", "600")
	s := owned(t)(FromPID(pid, Time, UTS))
	f, err := s.File(Time)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	testenv.OnThread(func() { err = unix.Setns(int(f.Fd()), unix.CLONE_NEWTIME) })
	if err != unix.EUSERS {
		t.Errorf("raw setns %v; the rule is EUSERS", err)
	}
	wantNeedsProcess(t, s, "time")
	if p := goIn(t, s); p.NS["time"] != idOf(t, s, Time) {
		t.Errorf("in a process: %s", p.NS["time"])
	}
}

var _ = testenv.AlsoNested(TestPIDNamespaceTakesChildrenOnly)

// golang/go#19716: "failed to create new OS thread (errno=22)" after a pid
// namespace. Children of a closure land inside, those of others do not, and the
// runtime goes on making threads.
func TestPIDNamespaceTakesChildrenOnly(t *testing.T) {
	testenv.Need(t, testenv.Host, testenv.Tool("sleep"))
	testenv.Leaks(t)
	init := sleeper(t, PID)
	s := owned(t)(FromPID(init, PID))
	want := idOf(t, s, PID)
	if want == testenv.Home("pid") {
		t.Fatal("the pid namespace is not new")
	}
	c := exec.Command("sleep", "600")
	h := hold(t, s, true, func() {
		if err := c.Start(); err != nil {
			t.Error(err)
		}
	})
	if c.Process == nil {
		t.FailNow()
	}
	wantLinks(t, os.Getpid(), h.tid, map[string]string{"pid_for_children": want})
	wantLinks(t, c.Process.Pid, 0, map[string]string{"pid": want, "pid_for_children": want})
	if ids := strings.Fields(statusOf(t, c.Process.Pid)["NSpid"]); len(ids) < 2 || ids[len(ids)-2] != strconv.Itoa(c.Process.Pid) {
		t.Errorf("NSpid of the child: %q", ids)
	}
	// New threads, while that one cannot clone any.
	before := len(tasks(t))
	release, ready := make(chan struct{}), make(chan struct{})
	for range before + 4 {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			ready <- struct{}{}
			<-release
		}()
	}
	for range before + 4 {
		<-ready
	}
	if n := len(tasks(t)); n < before+4 {
		t.Errorf("%d threads, %d locked goroutines", n, before+4)
	}
	close(release)

	out := sleeper(t, 0)
	wantLinks(t, out, 0, nil)
	if err := h.end(); err != nil {
		t.Error(err)
	}
	wantThreadGivenBack(t, h.tid)
	c.Process.Kill()
	c.Wait()
	wantLinks(t, sleeper(t, 0), 0, nil)

	// A function that asks for the thread: the same.
	p, err := where.Do(context.Background(), s, struct{}{}, InThread())
	if err != nil || p.NS["pid"] != testenv.Home("pid") || p.NS["pid_for_children"] != want {
		t.Errorf("InThread: %v, %v", p.NS, err)
	}
	// Otherwise it is inside itself, in a process, with this program's files.
	if err := s.SetWorker(Worker{HostFiles: true}); err != nil {
		t.Fatal(err)
	}
	p, err = where.Do(context.Background(), s, struct{}{})
	if err != nil || p.NS["pid"] != want || p.PID == 1 {
		t.Errorf("in a process: pid %d in %v, %v", p.PID, p.NS, err)
	}
}

// A Set's home namespaces cost nothing: no setns, no privilege, no process.
func TestHomeIsSkipped(t *testing.T) {
	testenv.Leaks(t)
	s := owned(t)(Current())
	p := s.Plan()
	if len(p.Closures.Join) > 0 || !p.Closures.GivenBack || len(p.Functions.Join) > 0 || p.Functions.Backend != ThreadBackend {
		t.Errorf("%v", p)
	}
	h := hold(t, s, true, nil)
	wantLinks(t, os.Getpid(), h.tid, nil)
	if err := h.end(); err != nil {
		t.Error(err)
	}
	wantThreadGivenBack(t, h.tid)
}

func TestOneNewNamespaceCostsOneSetns(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s := owned(t)(Current())
	one := owned(t)(s.Unshare(Net))
	p := one.Plan()
	if !slices.Equal(p.Closures.Join, []Type{Net}) || !p.Closures.GivenBack || p.Functions.Backend != ThreadBackend {
		t.Errorf("with one new namespace: %v", p)
	}
	h := hold(t, one, true, nil)
	wantLinks(t, os.Getpid(), h.tid, foreign(t, one))
	if err := h.end(); err != nil {
		t.Error(err)
	}
	wantThreadGivenBack(t, h.tid)
}

// runc#4390: joining the user namespace first loses the right to join what the
// host owns; joining it last, the right to join what it owns.
func TestJoinOrderFollowsOwnership(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	user := unshare(t, User|UTS)
	host := unshare(t, Net|IPC)

	s := owned(t)(user.With(host))
	if got := s.Plan().Functions.Join; !slices.Equal(got, []Type{IPC, Net, User, UTS}) {
		t.Errorf("order %v, want ipc and net, which the host owns, first", got)
	}
	p := goIn(t, s)
	wantLinks(t, p.PID, 0, foreign(t, s))

	nested := owned(t)(user.Unshare(User | Mount))
	mixed := owned(t)(nested.With(host)) // uts of the outer, mnt of the inner, net and ipc of the host
	if got := mixed.Plan().Functions.Join; !slices.Equal(got, []Type{IPC, Net, User, UTS, User, Mount}) {
		t.Errorf("order %v, want each from its owner", got)
	}
	p = goIn(t, mixed)
	wantLinks(t, p.PID, 0, foreign(t, mixed))

	// What the kernel says to the other order.
	f, err := user.File(User)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n, err := host.File(Net)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	testenv.Need(t, testenv.Tool("nsenter"))
	c := exec.Command("nsenter", "--user=/proc/self/fd/3", "nsenter", "--net=/proc/self/fd/4", "true")
	c.ExtraFiles = []*os.File{f, n}
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "not permitted") {
		t.Errorf("user first: %v: %s; the rule is EPERM", err, out)
	}
}

var _ = testenv.AlsoNested(TestNestedUserNamespaces)

func TestNestedUserNamespaces(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	outer := unshare(t, User|Net)
	inner := owned(t)(outer.Unshare(User | Net | UTS))
	third := owned(t)(inner.Unshare(User | IPC))
	for name, s := range map[string]*Set{"outer": outer, "inner": inner, "third": third} {
		p := goIn(t, s)
		wantLinks(t, p.PID, 0, foreign(t, s))
		if p.UID != 0 || p.GID != 0 {
			t.Errorf("%s: uid %d gid %d", name, p.UID, p.GID)
		}
		st := statusOf(t, p.PID)
		uid := strconv.Itoa(os.Geteuid())
		if got := strings.Fields(st["Uid"]); !slices.Equal(got, []string{uid, uid, uid, uid}) {
			t.Errorf("%s: uids from outside %q, want %s", name, got, uid)
		}
		if st["CapEff"] != fullCaps(t) {
			t.Errorf("%s: CapEff %s, want all: %s", name, st["CapEff"], fullCaps(t))
		}
	}
	if id := idOf(t, third, Net); id != idOf(t, inner, Net) || id == idOf(t, outer, Net) {
		t.Errorf("nets: outer %s, inner %s, third %s", idOf(t, outer, Net), idOf(t, inner, Net), id)
	}
	// Made inside, owned inside: net alone, from a Set with a user namespace.
	more := owned(t)(outer.Unshare(Net))
	p := goIn(t, more)
	wantLinks(t, p.PID, 0, foreign(t, more))
	if idOf(t, more, User) != idOf(t, outer, User) || idOf(t, more, Net) == idOf(t, outer, Net) {
		t.Errorf("%v from %v", more, outer)
	}
}

// fullCaps is CapEff of a process that has them all.
func fullCaps(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		t.Fatal(err)
	}
	last, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%016x", uint64(1)<<(last+1)-1)
}

func TestDefaultIDMapIsRootInside(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	s := unshare(t, User)
	p := goIn(t, s)
	uid, gid := fmt.Sprintf("0 %d 1", os.Geteuid()), fmt.Sprintf("0 %d 1", os.Getegid())
	if p.UID != 0 || p.GID != 0 || procFile(t, p.PID, "uid_map") != uid || procFile(t, p.PID, "gid_map") != gid {
		t.Errorf("uid %d gid %d, maps %q %q; want %q %q", p.UID, p.GID, procFile(t, p.PID, "uid_map"), procFile(t, p.PID, "gid_map"), uid, gid)
	}
	if got := statusOf(t, p.PID)["CapEff"]; got != fullCaps(t) {
		t.Errorf("CapEff %s", got)
	}
}

// procFile reads a file of /proc/PID with its white space made one blank.
func procFile(t testing.TB, pid int, name string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

// Nobody is mapped, yet work has every capability inside: exec would drop them.
func TestNoIDMaps(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	s := unshare(t, User|Net, NoIDMaps())
	p := goIn(t, s)
	if p.UID != 65534 || p.GID != 65534 || p.UIDMap != "" || p.GIDMap != "" {
		t.Errorf("uid %d gid %d, maps %q %q; want the overflow ids and no maps", p.UID, p.GID, p.UIDMap, p.GIDMap)
	}
	wantLinks(t, p.PID, 0, foreign(t, s))
	st := statusOf(t, p.PID)
	for _, set := range []string{"CapEff", "CapPrm", "CapInh", "CapAmb"} {
		if st[set] != fullCaps(t) || p.Status[set] != fullCaps(t) {
			t.Errorf("%s %s (from inside %s), want all: %s", set, st[set], p.Status[set], fullCaps(t))
		}
	}
	if _, err := setHostname.Do(context.Background(), owned(t)(s.Unshare(UTS)), "unmapped"); err != nil {
		t.Errorf("sethostname in a uts namespace of it: %v", err)
	}
}

var setHostname = Register("test.sethostname", func(_ context.Context, name string) (string, error) {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return "", err
	}
	return os.Hostname()
})

func TestUTSIsItsOwn(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	before, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	s := unshare(t, User|UTS)
	if got, err := setHostname.Do(context.Background(), s, "gonso-inside"); err != nil || got != "gonso-inside" {
		t.Errorf("inside %q, %v", got, err)
	}
	if after, err := os.Hostname(); err != nil || after != before {
		t.Errorf("outside %q, %v, was %q", after, err, before)
	}
}

func TestSetgroups(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	root := testenv.Has(testenv.Root)
	for name, c := range map[string]struct {
		opts []UnshareOption
		want string
	}{
		"default": {nil, map[bool]string{true: "allow", false: "deny"}[root]},
		"denied":  {[]UnshareOption{Setgroups(false)}, "deny"},
		"allowed": {[]UnshareOption{Setgroups(true)}, "allow"},
	} {
		t.Run(name, func(t *testing.T) {
			testenv.Leaks(t)
			s, err := Unshare(User, c.opts...)
			if c.want == "allow" && !root {
				wantError(t, "without CAP_SETGID", err, unix.EPERM, "Setgroups(true)", "gid map", "CAP_SETGID", "setgroups denied")
				return
			}
			s = owned(t)(s, err)
			p := goIn(t, s)
			if got := procFile(t, p.PID, "setgroups"); got != c.want || p.Setgroups != c.want {
				t.Errorf("/proc/%d/setgroups: %q, from inside %q, want %q", p.PID, got, p.Setgroups, c.want)
			}
			_, err = setGroups.Do(context.Background(), s, []int{0})
			if (err == nil) != (c.want == "allow") || err != nil && !errors.Is(err, unix.EPERM) {
				t.Errorf("setgroups(2) inside: %v", err)
			}
		})
	}
}

var setGroups = Register("test.setgroups", func(_ context.Context, gids []int) (struct{}, error) {
	return struct{}{}, unix.Setgroups(gids)
})

func TestIDMaps(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())

	t.Run("own id", func(t *testing.T) {
		s := unshare(t, User, IDMaps([]IDMap{{1234, uid, 1}}, []IDMap{{5678, gid, 1}}))
		p := goIn(t, s)
		if got, want := procFile(t, p.PID, "uid_map"), fmt.Sprintf("1234 %d 1", uid); got != want {
			t.Errorf("uid_map %q, want %q", got, want)
		}
		if got, want := procFile(t, p.PID, "gid_map"), fmt.Sprintf("5678 %d 1", gid); got != want {
			t.Errorf("gid_map %q, want %q", got, want)
		}
		// No 0 is mapped: capabilities are kept all the same.
		if st := statusOf(t, p.PID); p.UID != 1234 || p.GID != 5678 || st["CapEff"] != fullCaps(t) {
			t.Errorf("uid %d gid %d CapEff %s", p.UID, p.GID, st["CapEff"])
		}
	})
	t.Run("uid and gid maps are not mixed up", func(t *testing.T) {
		testenv.Need(t, testenv.Root)
		s := unshare(t, User, IDMaps([]IDMap{{0, 100000, 1000}, {1000, 300000, 10}}, []IDMap{{0, 200000, 2000}}))
		p := goIn(t, s)
		if p.UID != 0 || p.GID != 0 {
			t.Errorf("uid %d gid %d inside", p.UID, p.GID)
		}
		if u, g := procFile(t, p.PID, "uid_map"), procFile(t, p.PID, "gid_map"); u != "0 100000 1000 1000 300000 10" || g != "0 200000 2000" {
			t.Errorf("uid_map %q gid_map %q", u, g)
		}
		st := statusOf(t, p.PID)
		if strings.Fields(st["Uid"])[0] != "100000" || strings.Fields(st["Gid"])[0] != "200000" || st["CapEff"] != fullCaps(t) {
			t.Errorf("from outside: Uid %q Gid %q CapEff %s", st["Uid"], st["Gid"], st["CapEff"])
		}
		wantLinks(t, p.PID, 0, foreign(t, s))

		// Ids of a nested one are those of its parent.
		n := owned(t)(s.Unshare(User, IDMaps([]IDMap{{0, 5, 3}}, []IDMap{{0, 7, 2}})))
		p = goIn(t, n)
		if u, g := procFile(t, p.PID, "uid_map"), procFile(t, p.PID, "gid_map"); u != "0 100005 3" || g != "0 200007 2" {
			t.Errorf("nested, from outside: uid_map %q gid_map %q", u, g)
		}
		if st := statusOf(t, p.PID); strings.Fields(st["Uid"])[0] != "100005" || strings.Fields(st["Gid"])[0] != "200007" {
			t.Errorf("nested, from outside: Uid %q Gid %q", st["Uid"], st["Gid"])
		}
	})
	t.Run("a range needs privileges", func(t *testing.T) {
		testenv.Need(t, testenv.Plain)
		testenv.Leaks(t)
		needTools(t)
		for _, maps := range [][]IDMap{{{0, uid, 2}}, {{0, 0, 1}}, {{0, uid, 1}, {1, 90000, 10}}} {
			_, err := Unshare(User|Net, IDMaps(maps, []IDMap{{0, gid, 1}}))
			wantError(t, formatIDMaps(maps), err, unix.EPERM, "user: IDMaps: uid map, line", "(uid map: without CAP_SETUID", "own effective uid")
		}
	})
	t.Run("refused by the kernel in the parent", func(t *testing.T) {
		testenv.Leaks(t)
		outer := unshare(t, User)
		_, err := outer.Unshare(User, IDMaps([]IDMap{{0, 77, 1}}, []IDMap{{0, 0, 1}}))
		wantError(t, "an id that the parent has not mapped", err, unix.EPERM, "user")
	})
}

// golang/go#19661, moby#44210: mounts leak to the host.
func TestPropagation(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	for name, c := range map[string]struct {
		opts    []UnshareOption
		in, out bool // events arrive inside, get out to the host
		field   string
	}{
		"default":   {nil, true, false, "master:"},
		"slave":     {[]UnshareOption{Propagation(PropagationSlave)}, true, false, "master:"},
		"private":   {[]UnshareOption{Propagation(PropagationPrivate)}, false, false, ""},
		"shared":    {[]UnshareOption{Propagation(PropagationShared)}, true, true, "shared:"},
		"unchanged": {[]UnshareOption{Propagation(PropagationUnchanged)}, true, true, "shared:"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := sharedMount(t)
			before := dir + "/before"
			mountTmpfs(t, before)
			s := unshare(t, Mount, c.opts...)
			if err := s.Run(func() error { return mountAt(dir + "/inside") }); err != nil {
				t.Fatal(err)
			}
			mountTmpfs(t, dir+"/after")
			if err := unix.Unmount(before, 0); err != nil {
				t.Fatal(err)
			}
			h := hold(t, s, true, nil)
			inside := mountsOf(t, fmt.Sprintf("/proc/self/task/%d/mountinfo", h.tid))
			host := mountsOf(t, "/proc/self/mountinfo")
			if err := h.end(); err != nil {
				t.Error(err)
			}
			if f, ok := inside[dir]; !ok || !strings.Contains(f, c.field) || c.field == "" && f != "" {
				t.Errorf("%s inside: %q, want %q", dir, f, c.field)
			}
			wantMount(t, "a mount inside is there", inside, dir+"/inside", true)
			wantMount(t, "a mount inside gets out", host, dir+"/inside", c.out)
			wantMount(t, "a later mount of the host arrives", inside, dir+"/after", c.in)
			wantMount(t, "an unmount of the host does not arrive", inside, before, !c.in)
			if c.out {
				unix.Unmount(dir+"/inside", unix.MNT_DETACH)
			}
		})
	}
}

func wantMount(t testing.TB, what string, mounts map[string]string, path string, want bool) {
	t.Helper()
	if _, got := mounts[path]; got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// sharedMount mounts a tmpfs with shared propagation for the time of the test.
func sharedMount(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mountTmpfs(t testing.TB, at string) {
	t.Helper()
	if err := mountAt(at); err != nil {
		t.Fatal(err)
	}
}

func mountAt(at string) error {
	return errors.Join(os.MkdirAll(at, 0o755), unix.Mount("tmpfs", at, "tmpfs", 0, ""))
}

// mountsOf gives the optional fields of each mount, by where it is.
func mountsOf(t testing.TB, mountinfo string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(mountinfo)
	if err != nil {
		t.Fatal(err)
	}
	m := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		m[f[4]] = strings.Join(f[6:slices.Index(f, "-")], " ")
	}
	return m
}

var mountInside = Register("test.mount", func(_ context.Context, at string) (string, error) {
	err := unix.Mount("tmpfs", at, "tmpfs", 0, "")
	if err != nil {
		return "", os.NewSyscallError("mount", err)
	}
	if err := os.WriteFile(filepath.Join(at, "inside"), nil, 0o600); err != nil {
		return "", err
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	return string(b), err
})

// golang/go#19661: nor does what a function mounts in a user namespace's mount
// namespace, for a plain user too.
func TestMountOfFunctionNeverLeaksToHost(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	for name, opts := range map[string][]UnshareOption{
		"default": nil,
		"private": {Propagation(PropagationPrivate)},
		"shared":  {Propagation(PropagationShared)}, // the kernel makes a slave where another user namespace owns it
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if testenv.Has(testenv.Root) {
				dir = sharedMount(t) + "/at"
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			s := unshare(t, User|Mount, opts...)
			info, err := mountInside.Do(context.Background(), s, dir)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(info, " "+dir+" ") {
				t.Errorf("no mount at %s inside:\n%s", dir, info)
			}
			pid := goIn(t, s).PID
			wantMount(t, "inside", mountsOf(t, fmt.Sprintf("/proc/%d/mountinfo", pid)), dir, true)
			wantMount(t, "on the host", mountsOf(t, "/proc/self/mountinfo"), dir, false)
			if _, err := os.Stat(dir + "/inside"); !os.IsNotExist(err) {
				t.Errorf("a file made inside is on the host: %v", err)
			}
		})
	}
}

// The host's supplementary groups do not survive the join.
func TestSupplementaryGroupsNeverSurvive(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	if !testenv.IsAgain(t) { // this process has none; another run of this test has
		c := testenv.Again(t)
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Groups: []uint32{4242, 4243}}}
		testenv.RunAgain(t, c)
		return
	}
	if groups, err := os.Getgroups(); err != nil || !slices.Equal(groups, []int{4242, 4243}) {
		t.Fatalf("this process has groups %v, %v", groups, err)
	}
	for name, s := range map[string]*Set{
		"default":          unshare(t, User),
		"without maps":     unshare(t, User|UTS, NoIDMaps()),
		"maps":             unshare(t, User, IDMaps([]IDMap{{0, 100000, 10}}, []IDMap{{0, 100000, 10}})),
		"somebody else's":  owned(t)(FromPID(sleeperMapped(t), User, Net)),
		"setgroups denied": unshare(t, User, Setgroups(false)),
	} {
		p := goIn(t, s)
		if got := statusOf(t, p.PID)["Groups"]; len(p.Groups) > 0 || got != "" {
			t.Errorf("%s: groups %v, from outside %q", name, p.Groups, got)
		}
	}
}

// sleeperMapped is a sleeper in a user namespace with a range of ids.
func sleeperMapped(t testing.TB) int {
	t.Helper()
	c := exec.Command("sleep", "600")
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 200000, Size: 1000}}
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	return c.Process.Pid
}
