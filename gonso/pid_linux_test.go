package gonso

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// pidTypes makes a pid namespace with what the user running the tests has.
func pidTypes(t testing.TB) Type {
	t.Helper()
	testenv.Need(t, testenv.UserNS, testenv.Process)
	if testenv.Has(testenv.Root) {
		return PID
	}
	return User | PID
}

// members lists the processes in a pid namespace by their id inside. Of its init a plain
// user cannot know where it is; then it is taken to be that of the last Set made.
func members(t testing.TB, s *Set) map[int]int {
	t.Helper()
	want := idOf(t, s, PID)
	m := make(map[int]int)
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		at, err := testenv.NSLink(pid, 0, "pid")
		if errors.Is(err, os.ErrPermission) {
			st, _ := os.ReadFile(dir + "/status")
			original := fields(string(st))["PPid"]
			st, _ = os.ReadFile("/proc/" + original + "/status")
			if of := fields(string(st)); of["PPid"] == strconv.Itoa(os.Getpid()) {
				m[1] = max(m[1], pid)
			}
			continue
		}
		if err != nil || at != want {
			continue
		}
		b, err := os.ReadFile(dir + "/status")
		if err != nil {
			continue
		}
		ids := strings.Fields(fields(string(b))["NSpid"])
		inside, _ := strconv.Atoi(ids[len(ids)-1])
		m[inside] = pid
	}
	return m
}

// initOf is the id of the pid 1 of the Set's pid namespace.
func initOf(t testing.TB, s *Set) int {
	t.Helper()
	m := members(t, s)
	if m[1] == 0 {
		t.Fatalf("%v has no init: %v", s, m)
	}
	return m[1]
}

func wantGone(t testing.TB, pid int, what string) {
	t.Helper()
	if !testenv.Poll(func() bool { return unix.Kill(pid, 0) == unix.ESRCH }) {
		t.Errorf("%s, process %d, lives on", what, pid)
	}
}

var _ = testenv.AlsoNested(TestPIDInit)

func TestPIDInit(t *testing.T) {
	typ := pidTypes(t)
	testenv.Leaks(t)
	s := unshare(t, typ)
	init := initOf(t, s)
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", init)); err != nil || string(b) != "gonso-init\x00" {
		t.Errorf("it is called %q, %v", b, err)
	}
	wantEmptyHouse(t, init)
	wantEmptyHouse(t, parentOf(t, init)) // the original, which waits for it
	// What is typed at the terminal is not for it.
	if sid, err := unix.Getsid(init); err != nil || sid == mustSid(t) {
		t.Errorf("it is in session %d, %v, which is this process's", sid, err)
	}

	p := goIn(t, s)
	m := members(t, s)
	if len(m) != 2 || m[p.PID] == 0 {
		t.Errorf("the worker says it is %d, inside are %v", p.PID, m)
	}
	if st := statusOf(t, m[p.PID]); st["PPid"] != strconv.Itoa(os.Getpid()) {
		t.Errorf("the worker is the child of %s, this is %d", st["PPid"], os.Getpid())
	}
	wantLinks(t, m[p.PID], 0, inside(t, s))
	if pgid, err := unix.Getpgid(m[p.PID]); err != nil || pgid != m[p.PID] {
		t.Errorf("the worker %d is in process group %d, %v", m[p.PID], pgid, err)
	}

	// From inside nobody can kill it.
	if err := killInside(t, s, 1); err != nil {
		t.Error(err)
	}
	if p2 := goIn(t, s); p2.PID != p.PID {
		t.Errorf("the worker was %d and is %d", p.PID, p2.PID)
	}
	s.Close()
	wantGone(t, init, "init")
	wantGone(t, m[p.PID], "the worker")
}

func parentOf(t testing.TB, pid int) int {
	t.Helper()
	parent, err := strconv.Atoi(statusOf(t, pid)["PPid"])
	if err != nil {
		t.Fatal(err)
	}
	return parent
}

// wantEmptyHouse looks at a process that others see: it holds on to nothing but pipes,
// which are its life line, and has an empty directory for a root. It is not dumpable, so
// that root alone can look.
func wantEmptyHouse(t testing.TB, pid int) {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if os.Geteuid() != 0 || !testenv.Has(testenv.Host) && err != nil {
		// The original takes a moment after Unshare has returned.
		if !testenv.Poll(func() bool {
			_, err = os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
			return errors.Is(err, os.ErrPermission)
		}) {
			t.Errorf("a plain user can look at it: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		at, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		if !strings.HasPrefix(at, "pipe:") {
			t.Errorf("it holds %s", at)
		}
	}
	if cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err != nil || cwd != "/" {
		t.Errorf("its working directory is %q, %v", cwd, err)
	}
	for _, dir := range []string{"root", "cwd", "root/..", "cwd/../.."} {
		names, err := os.ReadDir(fmt.Sprintf("/proc/%d/%s", pid, dir))
		if err != nil || len(names) > 0 {
			t.Errorf("%s has %v, %v", dir, names, err)
		}
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s/file", pid, dir), nil, 0o600); !errors.Is(err, unix.EROFS) {
			t.Errorf("%s can be written to: %v", dir, err)
		}
	}
	mounts, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil || bytes.Count(mounts, []byte("\n")) != 1 || !bytes.Contains(mounts, []byte(" - tmpfs ")) {
		t.Errorf("its mounts: %s, %v", mounts, err)
	}
}

func mustSid(t testing.TB) int {
	t.Helper()
	sid, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	return sid
}

var kill = Register("test.kill", func(_ context.Context, pid int) (struct{}, error) {
	return struct{}{}, errors.Join(unix.Kill(pid, unix.SIGKILL), unix.Kill(pid, unix.SIGTERM))
})

func killInside(t testing.TB, s *Set, pid int) error {
	t.Helper()
	_, err := kill.Do(t.Context(), s, pid, InProcess())
	return err
}

var _ = testenv.AlsoNested(TestPIDNamespaceCannotDieBeforeItsSets)

// Init lives as long as a Set that has its namespace, and a nested one keeps the
// one around it alive.
func TestPIDNamespaceCannotDieBeforeItsSets(t *testing.T) {
	typ := pidTypes(t)
	testenv.Leaks(t)
	s := unshare(t, typ)
	init := initOf(t, s)
	dup := owned(t)(s.Dup())
	with := owned(t)(new(Set).With(s))
	nested := owned(t)(s.Unshare(PID))
	inner := initOf(t, nested)
	if ids := strings.Fields(statusOf(t, inner)["NSpid"]); len(ids) < 3 || ids[len(ids)-1] != "1" {
		t.Errorf("NSpid of the nested init: %q", ids)
	}
	for _, closed := range []*Set{s, dup, with} {
		closed.Close()
		if p := goIn(t, nested); p.NS["pid"] != idOf(t, nested, PID) {
			t.Errorf("in %s", p.NS["pid"])
		}
		if unix.Kill(init, 0) != nil {
			t.Fatal("the outer init is gone before the last Set")
		}
	}
	nested.Close()
	wantGone(t, inner, "the nested init")
	wantGone(t, init, "the outer init")

	s = unshare(t, typ)
	init = initOf(t, s)
	rest := owned(t)(s.Without(PID))
	s.Close()
	wantGone(t, init, "init, though no Set has its namespace")
	rest.Close()

	// A closure in flight is a user too.
	if typ != PID {
		return
	}
	s = unshare(t, typ)
	init = initOf(t, s)
	h := hold(t, s, true, nil)
	s.Close()
	if unix.Kill(init, 0) != nil {
		t.Error("init is gone while a closure runs")
	}
	if err := h.end(); err != nil {
		t.Error(err)
	}
	wantGone(t, init, "init")
}

var _ = testenv.AlsoNested(TestPIDChildrenOfClosuresDieWithTheSet)

// A closure's children land inside, are this process's to wait for, and die with
// the namespace. The kernel keeps init until they have been reaped.
func TestPIDChildrenOfClosuresDieWithTheSet(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Process, testenv.Tool("sleep"))
	testenv.Leaks(t)
	s := unshare(t, PID)
	init := initOf(t, s)
	c := exec.Command("sleep", "600")
	if err := s.Run(c.Start); err != nil {
		t.Fatal(err)
	}
	wantLinks(t, c.Process.Pid, 0, map[string]string{"pid": idOf(t, s, PID), "pid_for_children": idOf(t, s, PID)})
	s.Close()
	err := c.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		t.Errorf("the child ended with %v", err)
	}
	wantGone(t, init, "init")
}

var _ = testenv.AlsoNested(TestPIDNamespaceThatIsDead)

// A pid namespace whose init is gone is said to be dead, by whoever tries, and
// nothing is left behind.
func TestPIDNamespaceThatIsDead(t *testing.T) {
	typ := pidTypes(t)
	testenv.Leaks(t)
	s := unshare(t, typ)
	goIn(t, s)
	if err := unix.Kill(initOf(t, s), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "everything inside is gone", func() bool { return len(members(t, s)) == 0 })
	dead := func(what string, err error) {
		t.Helper()
		wantError(t, what, err, unix.ENOMEM, "pid", "possibly", "dead", "init")
	}
	testenv.Eventually(t, "the death of the worker is noticed", func() bool {
		_, err := where.Do(t.Context(), s, struct{}{}, InProcess())
		return !errors.Is(err, ErrWorkerDied)
	})
	_, err := where.Do(t.Context(), s, struct{}{}, InProcess())
	dead("a function", err)
	_, err = s.Unshare(PID)
	dead("a nested one", err)
	if testenv.Has(testenv.Root) {
		dead("a closure's child", s.Run(func() error {
			err := exec.Command("true").Run()
			if errors.Is(err, unix.ENOMEM) {
				err = refused("clone", PID, unix.ENOMEM)
			}
			return err
		}))
	}
}

var inProc = Register("test.proc", func(context.Context, struct{}) ([]int, error) {
	self, err := os.Readlink("/proc/self")
	if err == nil && self != strconv.Itoa(os.Getpid()) {
		err = fmt.Errorf("/proc/self is %s, this is %d", self, os.Getpid())
	}
	dirs, gerr := filepath.Glob("/proc/[0-9]*")
	var pids []int
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		pids = append(pids, pid)
	}
	return pids, errors.Join(err, gerr)
})

var _ = testenv.AlsoNested(TestPIDMountProc)

func TestPIDMountProc(t *testing.T) {
	typ := pidTypes(t) | Mount
	testenv.Leaks(t)
	before := mountsOf(t, "/proc/self/mountinfo")
	show := func(what string, s *Set, want ...int) {
		t.Helper()
		got, err := inProc.Do(t.Context(), s, struct{}{}, InProcess())
		if slices.Sort(got); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: /proc shows %v, %v, want %v", what, got, err, want)
		}
	}
	for name, opts := range map[string][]UnshareOption{
		"default":   nil,
		"shared":    {Propagation(PropagationShared)},
		"unchanged": {Propagation(PropagationUnchanged)},
	} {
		s := unshare(t, typ, append(opts, MountProc())...)
		show(name, s, 1, 2)
		s.Close()
	}
	// Made later, it shows the pid namespace of the Set.
	s := unshare(t, typ&^Mount)
	n := owned(t)(s.Unshare(Mount, MountProc()))
	show("of an existing pid namespace", n, 1, 3) // 2 has mounted it
	// A nested pid namespace can have its own.
	n = owned(t)(s.Unshare(PID|Mount, MountProc()))
	show("of a nested pid namespace", n, 1, 2)

	after := mountsOf(t, "/proc/self/mountinfo")
	if len(before) != len(after) || before["/proc"] != after["/proc"] {
		t.Errorf("the host's mounts have changed: /proc was %q and is %q, %d were %d", before["/proc"], after["/proc"], len(after), len(before))
	}
}

var _ = testenv.AlsoNested(TestMountProcAlone)

// Without a pid namespace it shows this process's, on a thread too.
func TestMountProcAlone(t *testing.T) {
	testenv.Need(t, testenv.Host) // whose user namespace has the pid namespace that it shows
	testenv.Leaks(t)
	s := unshare(t, Mount, MountProc())
	err := s.Run(func() error {
		at, err := os.Readlink("/proc/self")
		if err == nil && at != strconv.Itoa(os.Getpid()) {
			err = fmt.Errorf("/proc/self is %s", at)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

var orphans = Register("test.orphans", func(ctx context.Context, n int) (int, error) {
	// A subshell that ends at once leaves what it has started to init.
	script := fmt.Sprintf(`i=0; while [ $i -lt %d ]; do (/bin/true &); i=$((i+1)); done`, n)
	if err := exec.CommandContext(ctx, "sh", "-c", script).Run(); err != nil {
		return 0, err
	}
	last := exec.CommandContext(ctx, "true")
	err := last.Run()
	return last.Process.Pid, err
}, StartsGoroutines())

var _ = testenv.Long(TestPIDInitCannotLeaveZombies)
var _ = testenv.AlsoNested(TestPIDInitCannotLeaveZombies)

// runc#1443, rootlesskit#209, rootlesskit#532: zombies.
func TestPIDInitCannotLeaveZombies(t *testing.T) {
	typ := pidTypes(t)
	testenv.Need(t, testenv.Tool("sh"))
	testenv.Leaks(t)
	n := testenv.Times(10_000, 1_000)
	s := unshare(t, typ)
	init := initOf(t, s)
	grown := func() string {
		size := procFile(t, init, "statm") + statusOf(t, init)["FDSize"]
		if fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", init)); err == nil { // it is not dumpable
			size += fmt.Sprintf(" %d", len(fds))
		} else if testenv.Has(testenv.Host, testenv.Root) {
			t.Error(err)
		}
		return size
	}
	if _, err := orphans.Do(t.Context(), s, 10); err != nil {
		t.Fatal(err)
	}
	before := grown()
	last, err := orphans.Do(t.Context(), s, n)
	if err != nil || last < 2*n {
		t.Fatalf("the last process is number %d, %v, of at least %d", last, err, 2*n)
	}
	// init and the worker are left
	testenv.Eventually(t, "orphans are reaped", func() bool { return len(members(t, s)) == 2 })
	if after := grown(); after != before {
		t.Errorf("size and descriptors of init were %s and are %s", before, after)
	}
}

var _ = testenv.AlsoNested(TestPIDNamespacesOfOthersAreJoined)

// Existing pid namespaces are joined by the worker itself, from outside and from
// within, at any depth.
func TestPIDNamespacesOfOthersAreJoined(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.UtilLinux("unshare"), testenv.Tool("sleep"))
	testenv.Leaks(t)
	for name, args := range map[string][]string{
		"plain":                {"--user", "--map-root-user", "--pid", "--fork", "--kill-child", "sleep", "600"},
		"with mnt and /proc":   {"--user", "--map-root-user", "--mount-proc", "--pid", "--fork", "--kill-child", "sleep", "600"},
		"user below user":      {"--user", "--map-root-user", "unshare", "--user", "--map-root-user", "--pid", "--fork", "--kill-child", "sleep", "600"},
		"with what is net too": {"--user", "--map-root-user", "--net", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "sleep", "600"},
	} {
		t.Run(name, func(t *testing.T) {
			pid := descendant(t, "unshare", args...)
			s := owned(t)(FromPID(pid))
			// Without mnt they have this program's files, which is to be said.
			var opts []UnshareOption
			if name != "with mnt and /proc" {
				opts = append(opts, HostFiles())
				wantHostFilesRefused(t, s)
				if err := s.SetWorker(Worker{HostFiles: true}); err != nil {
					t.Fatal(err)
				}
			}
			p := goIn(t, s)
			for _, l := range links {
				if got, err := testenv.NSLink(pid, 0, l); err != nil || p.NS[l] != got && p.NS[l] != "" {
					t.Errorf("%s: in %s, the other process in %s, %v", l, p.NS[l], got, err)
				}
			}
			if p.UID != 0 || p.PID == os.Getpid() {
				t.Errorf("uid %d, pid %d", p.UID, p.PID)
			}
			n := owned(t)(s.Unshare(PID, opts...))
			if len(opts) > 0 {
				if err := n.SetWorker(Worker{HostFiles: true}); err != nil {
					t.Fatal(err)
				}
			}
			if q := goIn(t, n); q.PID != 2 || q.NS["pid"] != idOf(t, n, PID) {
				t.Errorf("nested: pid %d in %s", q.PID, q.NS["pid"])
			}
		})
	}
}

// wantHostFilesRefused has everything refused that puts a process of this program
// into the Set's pid namespace, which is somebody else's, without their files.
func wantHostFilesRefused(t testing.TB, s *Set) {
	t.Helper()
	refused := func(what, option string, err error) {
		t.Helper()
		if !errors.Is(err, os.ErrInvalid) || !strings.Contains(fmt.Sprint(err), option) || !strings.Contains(fmt.Sprint(err), "Mount") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := where.Do(context.Background(), s, struct{}{})
	refused("a function", "Worker.HostFiles", err)
	_, err = where.Do(context.Background(), s, struct{}{}, Isolated())
	refused("an isolated function", "Worker.HostFiles", err)
	refused("a worker", "Worker.HostFiles", s.Warm(context.Background()))
	refused("its plan", "Worker.HostFiles", s.Plan().Functions.Err)
	refused("a command", "Cmd.HostFiles", s.Command(context.Background(), "true").Run())
	refused("this program", "Cmd.HostFiles", s.Self(context.Background()).Run())
	for _, types := range []Type{PID, PID | Mount, User | PID} {
		_, err = s.Unshare(types)
		refused("making "+types.String(), "HostFiles", err)
	}
	_, err = s.Unshare(Mount, MountProc())
	refused("mounting its /proc", "HostFiles", err)
	copied, err := s.Unshare(Mount)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	refused("a function in a copy of the files", "Worker.HostFiles", copied.Warm(context.Background()))
}

// descendant starts a program that ends with the test and returns the process
// below it that has come to the last program of its arguments.
func descendant(t testing.TB, name string, args ...string) (pid int) {
	t.Helper()
	c := exec.Command(name, args...)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		testenv.Poll(func() bool { return ended(pid) })
	})
	testenv.Eventually(t, name+" has come to its program", func() bool {
		pid = c.Process.Pid
		for {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
			if err != nil {
				return false
			}
			child, _ := strconv.Atoi(strings.TrimSpace(string(b)))
			if child == 0 {
				break
			}
			pid = child
		}
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return strings.TrimSpace(string(comm)) == args[len(args)-2]
	})
	return pid
}
