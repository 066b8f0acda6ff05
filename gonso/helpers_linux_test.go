package gonso

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// unshare makes a Set that the test closes.
func unshare(t testing.TB, types Type, opts ...UnshareOption) *Set {
	t.Helper()
	return owned(t)(Unshare(types, opts...))
}

// owned is for Sets that the test closes: owned(t)(s.Dup()).
func owned(t testing.TB) func(*Set, error) *Set {
	return func(s *Set, err error) *Set {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
}

// idOf is the Set's namespace as /proc/PID/ns shows it.
func idOf(t testing.TB, s *Set, typ Type) string {
	t.Helper()
	id, err := s.ID(typ)
	if err != nil {
		t.Fatal(err)
	}
	return id.String()
}

// held is a closure that waits inside.
type held struct {
	tid int
	end func() error // lets it return, with the answer of Do; called once
}

// hold runs a closure in the Set that waits; first runs in it before.
func hold(t testing.TB, s *Set, restore bool, first func()) held {
	t.Helper()
	tid, stop, done := make(chan int, 1), make(chan struct{}), make(chan error, 1)
	go func() {
		done <- s.Do(restore, func() bool {
			if first != nil {
				first()
			}
			tid <- unix.Gettid()
			<-stop
			return true
		})
	}()
	select {
	case n := <-tid:
		return held{n, func() error {
			close(stop)
			return <-done
		}}
	case err := <-done:
		t.Fatalf("%v: %v", s, err)
		return held{}
	}
}

// links are the files of /proc/PID/ns.
var links = []string{"cgroup", "ipc", "mnt", "net", "pid", "pid_for_children", "time", "time_for_children", "user", "uts"}

// wantLinks checks from outside where a thread is (tid), or a process (tid 0):
// in the given namespaces, and at home otherwise.
func wantLinks(t testing.TB, pid, tid int, foreign map[string]string) {
	t.Helper()
	for _, l := range links {
		home := testenv.Home(l)
		if home == "" {
			continue // the kernel has no such type
		}
		want := home
		if f := foreign[l]; f != "" {
			if f == home {
				t.Errorf("%s is not foreign", f)
			}
			want = f
		}
		if got, err := testenv.NSLink(pid, tid, l); err != nil || got != want {
			t.Errorf("pid %d tid %d: %s is %s, %v; want %s", pid, tid, l, got, err, want)
		}
	}
}

// timeIfThere is Time, for tests that do more where the kernel has time namespaces.
func timeIfThere() Type {
	if testenv.Has(testenv.TimeNS) {
		return Time
	}
	return 0
}

// foreign gives the Set's namespaces that are not home, for wantLinks.
func foreign(t testing.TB, s *Set) map[string]string {
	t.Helper()
	m := make(map[string]string)
	s.Types().each(func(i int, typ Type) {
		if id := idOf(t, s, typ); id != testenv.Home(typeTable[i].name) {
			m[typeTable[i].name] = id
		}
	})
	return m
}

// inside gives the links of a process in the Set, whose children are there too.
func inside(t testing.TB, s *Set) map[string]string {
	t.Helper()
	m := foreign(t, s)
	for _, l := range []string{"pid", "time"} {
		if m[l] != "" {
			m[l+"_for_children"] = m[l]
		}
	}
	return m
}

// threadLives reports whether this process has the thread.
func threadLives(tid int) bool { return unix.Tgkill(os.Getpid(), tid, 0) == nil }

func wantThreadGone(t testing.TB, tid int) {
	t.Helper()
	if !testenv.Poll(func() bool { return !threadLives(tid) }) {
		t.Errorf("thread %d lives on", tid)
	}
}

// wantThreadGivenBack checks that the thread is there, and at home.
func wantThreadGivenBack(t testing.TB, tid int) {
	t.Helper()
	if !threadLives(tid) {
		t.Errorf("thread %d is gone", tid)
		return
	}
	wantLinks(t, os.Getpid(), tid, nil)
}

// place is what a registered function sees of where it runs.
type place struct {
	PID, TID, UID, GID int
	Groups             []int
	NS                 map[string]string
	Status             map[string]string // /proc/thread-self/status
	UIDMap, GIDMap     string
	Setgroups          string
}

var where = Register("test.where", func(context.Context, struct{}) (place, error) {
	return here()
})

func here() (place, error) {
	p := place{PID: os.Getpid(), TID: unix.Gettid(), UID: os.Getuid(), GID: os.Getgid(), NS: make(map[string]string), Status: make(map[string]string)}
	var errs []error
	var err error
	p.Groups, err = os.Getgroups()
	errs = append(errs, err)
	for _, l := range links {
		if at, err := os.Readlink("/proc/thread-self/ns/" + l); err == nil {
			p.NS[l] = at
		}
	}
	for name, to := range map[string]*string{"uid_map": &p.UIDMap, "gid_map": &p.GIDMap, "setgroups": &p.Setgroups} {
		b, err := os.ReadFile("/proc/thread-self/" + name)
		errs = append(errs, err)
		*to = strings.Join(strings.Fields(string(b)), " ")
	}
	b, err := os.ReadFile("/proc/thread-self/status")
	errs = append(errs, err)
	p.Status = fields(string(b))
	return p, errors.Join(errs...)
}

// fields splits a status file of procfs.
func fields(status string) map[string]string {
	m := make(map[string]string)
	for line := range strings.Lines(status) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		m[key] = strings.TrimSpace(value)
	}
	return m
}

// statusOf reads /proc/PID/status, from outside.
func statusOf(t testing.TB, pid int) map[string]string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		t.Fatal(err)
	}
	return fields(string(b))
}

// goIn asks where the Set's worker is, from inside.
func goIn(t testing.TB, s *Set) place {
	t.Helper()
	p, err := where.Do(context.Background(), dynamically(s), struct{}{}, InProcess())
	if err != nil {
		t.Fatalf("%v: %v", s, err)
	}
	return p
}

// dynamically lets this test binary be the worker although it may be built with cgo, and
// the mnt namespace be somebody else's.
func dynamically(s *Set) *Set {
	if s.c == nil { // the zero Set
		return s
	}
	s.c.workerMu.Lock()
	defer s.c.workerMu.Unlock()
	if s.c.worker == nil {
		s.c.workerAs.DynamicLoader = true
	}
	return s
}

// sleeper starts a process that waits, in new namespaces, and ends with the test.
func sleeper(t testing.TB, types Type) int {
	t.Helper()
	testenv.Need(t, testenv.Tool("sleep"))
	c := exec.Command("sleep", "600")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: uintptr(types)}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	return c.Process.Pid
}

// ended reports whether a process that some other is to reap runs no more.
func ended(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return true
	}
	if !strings.HasPrefix(fields(string(b))["State"], "Z") {
		return false
	}
	unix.Wait4(pid, nil, unix.WNOHANG, nil) // this one is, if it is pid 1
	return true
}

// wantError checks that err matches is and says all of the words.
func wantError(t testing.TB, what string, err, is error, words ...string) {
	t.Helper()
	if !errors.Is(err, is) {
		t.Errorf("%s: %v; want %v", what, err, is)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%s: %v; want %q in it", what, err, w)
		}
	}
}

// tryLoopback tells whether sockets on the loopback interface hear each other.
func tryLoopback(ctx context.Context) (string, error) {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return "", err
	}
	if lo.Flags&net.FlagUp == 0 {
		return "lo has no address", nil
	}
	var said []string
	for _, host := range []string{"127.0.0.1", "::1"} {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return "", err
		}
		c, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		l.Close()
		if err != nil {
			return "", err
		}
		c.Close()
		said = append(said, host+" answers")
	}
	return strings.Join(said, ", "), nil
}
