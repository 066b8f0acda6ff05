package gonso

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// Constants of package unix are Types without conversion.
var _ = map[Type]bool{
	unix.CLONE_NEWCGROUP: true, unix.CLONE_NEWIPC: true, unix.CLONE_NEWNS: true, unix.CLONE_NEWNET: true,
	unix.CLONE_NEWPID: true, unix.CLONE_NEWTIME: true, unix.CLONE_NEWUSER: true, unix.CLONE_NEWUTS: true,
}

func TestTypesAreTheKernels(t *testing.T) {
	for typ, flag := range map[Type]int{Cgroup: unix.CLONE_NEWCGROUP, IPC: unix.CLONE_NEWIPC, Mount: unix.CLONE_NEWNS,
		Net: unix.CLONE_NEWNET, PID: unix.CLONE_NEWPID, Time: unix.CLONE_NEWTIME, User: unix.CLONE_NEWUSER, UTS: unix.CLONE_NEWUTS} {
		if int(typ) != flag {
			t.Errorf("%v is %#x, the kernel's is %#x", typ, uint32(typ), flag)
		}
	}
}

func TestCurrent(t *testing.T) {
	s := owned(t)(Current())
	for i := range typeTable {
		typ, name := typeTable[i].typ, typeTable[i].name
		if testenv.Home(name) == "" {
			if s.Has(typ) {
				t.Errorf("a Set with %v, which the kernel does not have", typ)
			}
			continue
		}
		if got := idOf(t, s, typ); got != testenv.Home(name) {
			t.Errorf("%v: %s, want %s", typ, got, testenv.Home(name))
		}
	}
	if s := owned(t)(Current(Net, UTS|IPC)); s.Types() != Net|UTS|IPC {
		t.Errorf("types %v", s.Types())
	}
	if s := owned(t)(Current(unix.CLONE_NEWNS)); s.Types() != Mount || s.String() != "{"+testenv.Home("mnt")+"}" {
		t.Errorf("%v", s)
	}
	for _, typ := range []Type{0, 1, Net | 0x100} {
		_, err := Current(Net, typ)
		wantError(t, "Current of "+typ.String(), err, os.ErrInvalid, "current")
	}
}

// In a closure Current means where the closure is.
func TestCurrentInClosure(t *testing.T) {
	testenv.Need(t, testenv.Root)
	s := unshare(t, Net)
	var in *Set
	if err := s.Run(func() (err error) {
		in, err = Current(Net, UTS)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if got, want := idOf(t, in, Net), idOf(t, s, Net); got != want {
		t.Errorf("net %s, want %s", got, want)
	}
	if got := idOf(t, in, UTS); got != testenv.Home("uts") {
		t.Errorf("uts %s, want home", got)
	}
}

func TestUnshareIsCurrentPlusMethod(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	base := owned(t)(Current(User, Net, UTS))
	s := owned(t)(base.Unshare(User | Net))
	if s.Types() != User|Net|UTS {
		t.Errorf("types %v", s.Types())
	}
	f := foreign(t, s)
	if len(f) != 2 || f["user"] == "" || f["net"] == "" {
		t.Errorf("new: %v, want user and net", f)
	}
	if s := unshare(t, User|Net); s.Types() != User|Net || len(foreign(t, s)) != 2 {
		t.Errorf("the function gave %v", s)
	}
}

func TestFromPID(t *testing.T) {
	self := owned(t)(FromPID(os.Getpid()))
	if f := foreign(t, self); len(f) > 0 || !self.Has(Net|User|Mount) {
		t.Errorf("this process's: %v, foreign %v", self, f)
	}

	testenv.Need(t, testenv.UserNS)
	pid := sleeper(t, User|Net)
	s := owned(t)(FromPID(pid, Net, User, UTS))
	for _, typ := range []Type{Net, User, UTS} {
		want, err := testenv.NSLink(pid, 0, typ.String())
		if got := idOf(t, s, typ); err != nil || got != want {
			t.Errorf("%v: %s, want %s, %v", typ, got, want, err)
		}
	}
	if len(foreign(t, s)) != 2 {
		t.Errorf("%v is to have two foreign namespaces", s)
	}
}

func TestFromPIDOfThread(t *testing.T) {
	var s *Set
	want := testenv.Home("net")
	if os.Geteuid() == 0 {
		s = unshare(t, Net)
		want = idOf(t, s, Net)
	} else {
		s = owned(t)(Current(Net))
	}
	h := hold(t, s, true, nil)
	thread, err := FromPID(h.tid, Net)
	if err := h.end(); err != nil {
		t.Error(err)
	}
	if got := idOf(t, owned(t)(thread, err), Net); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestFromPIDOfNobody(t *testing.T) {
	for _, pid := range []int{0, -1, -unix.Getpid()} {
		_, err := FromPID(pid)
		wantError(t, strconv.Itoa(pid), err, os.ErrInvalid, strconv.Itoa(pid))
	}
	testenv.Need(t, testenv.Tool("true"))
	c := exec.Command("true")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	pid := c.Process.Pid
	testenv.Eventually(t, "the child is a zombie", func() bool { return strings.HasPrefix(statusOf(t, pid)["State"], "Z") })
	_, err := FromPID(pid)
	wantError(t, "zombie", err, unix.ESRCH, strconv.Itoa(pid))
	_, err = FromPID(pid, Net)
	wantError(t, "net of a zombie", err, unix.ESRCH, "net", strconv.Itoa(pid))
	c.Wait()
	for _, types := range [][]Type{nil, {Net}} {
		_, err = FromPID(pid, types...)
		wantError(t, "reaped", err, unix.ESRCH, strconv.Itoa(pid))
	}
}

func TestFromDir(t *testing.T) {
	if s := owned(t)(FromDir("/proc/self/ns")); len(foreign(t, s)) > 0 || !s.Has(Net|Mount|User) {
		t.Errorf("/proc/self/ns: %v", s)
	}

	link := func(dir, name, to string) {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	some := t.TempDir()
	link(some, "net", "/proc/self/ns/net")
	link(some, "uts", "/proc/self/ns/uts")
	link(some, "README", "/proc/self/ns/ipc") // no type's name: not looked at
	if s := owned(t)(FromDir(some)); s.Types() != Net|UTS {
		t.Errorf("net and uts: %v", s)
	}
	if s := owned(t)(FromDir(some, UTS)); s.Types() != UTS {
		t.Errorf("uts: %v", s)
	}
	_, err := FromDir(some, Net, IPC)
	wantError(t, "asked for what is not there", err, fs.ErrNotExist, "ipc", some)
	_, err = FromDir(some, 0)
	wantError(t, "zero", err, os.ErrInvalid, "zero Type")

	empty := t.TempDir()
	_, err = FromDir(empty)
	wantError(t, "empty", err, fs.ErrNotExist, empty, "cgroup, ipc, mnt")

	swapped := t.TempDir()
	link(swapped, "net", "/proc/self/ns/uts")
	if _, err = FromDir(swapped); err == nil || !strings.Contains(err.Error(), "type uts") || !strings.Contains(err.Error(), swapped+"/net") {
		t.Errorf("a uts namespace named net: %v", err)
	}

	regular := t.TempDir()
	if err := os.WriteFile(filepath.Join(regular, "mnt"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = FromDir(regular)
	wantError(t, "regular file", err, ErrNotNamespace, regular+"/mnt")
	_, err = FromDir(filepath.Join(regular, "mnt"))
	wantError(t, "not a directory", err, unix.ENOTDIR, regular)
	_, err = FromDir(filepath.Join(regular, "none"))
	wantError(t, "missing", err, fs.ErrNotExist, regular+"/none")
}

func TestOpen(t *testing.T) {
	s := owned(t)(Open("/proc/self/ns/net", "/proc/thread-self/ns/uts"))
	if s.Types() != Net|UTS || len(foreign(t, s)) > 0 {
		t.Errorf("%v", s)
	}

	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.WriteFile(at("regular"), nil, 0o600), unix.Mkfifo(at("fifo"), 0o600),
		os.Symlink("/proc/self/ns/net", at("link")), os.Symlink("nowhere", at("dangling"))); err != nil {
		t.Fatal(err)
	}
	if s := owned(t)(Open(at("link"))); s.Types() != Net {
		t.Errorf("through a link: %v", s)
	}
	// Opening a FIFO for reading waits for a writer, who never comes; opening a
	// terminal may make it the controlling one.
	for _, name := range []string{at("fifo"), at("regular"), dir, "/dev/null", "/dev/tty", "/proc/self/status", "/proc/self/ns"} {
		_, err := Open("/proc/self/ns/uts", name)
		if name == "/dev/tty" && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		wantError(t, name, err, ErrNotNamespace, name)
	}
	for _, name := range []string{at("none"), at("dangling"), ""} {
		_, err := Open(name)
		wantError(t, name, err, fs.ErrNotExist, name)
	}
	_, err := Open("/proc/self/ns/net", "/proc/self/ns/uts", at("link"))
	wantError(t, "two of a type", err, errTwoOfAType, at("link"))
	_, err = Open()
	wantError(t, "nothing", err, errNoFiles)
}

func TestOpenOfPinnedNamespace(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Tool("unshare"))
	pin := filepath.Join(t.TempDir(), "net")
	if err := os.WriteFile(pin, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("unshare", "--net="+pin, "readlink", "/proc/self/ns/net").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { unix.Unmount(pin, 0) })
	s := owned(t)(Open(pin))
	if got, want := idOf(t, s, Net), strings.TrimSpace(string(out)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	h := hold(t, s, true, nil)
	wantLinks(t, os.Getpid(), h.tid, map[string]string{"net": idOf(t, s, Net)})
	if err := h.end(); err != nil {
		t.Error(err)
	}
}

func TestSetMethods(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	u := unshare(t, User|Net|UTS)
	cur := owned(t)(Current(Net, Mount))

	t.Run("Has", func(t *testing.T) {
		for types, want := range map[Type]bool{Net: true, User | UTS: true, Mount: false, Net | Mount: false, 0: false, 1: false} {
			if u.Has(types) != want {
				t.Errorf("%v: %v", types, !want)
			}
		}
	})
	t.Run("ID", func(t *testing.T) {
		id, err := u.ID(Net)
		again, _ := u.ID(Net)
		other, _ := cur.ID(Net)
		if err != nil || id != again || id == other || id.Type != Net || id.Ino == 0 || id.Dev == 0 {
			t.Errorf("%+v, again %+v, another's %+v, %v", id, again, other, err)
		}
		_, err = u.ID(Mount)
		wantError(t, "not in the Set", err, errNotInSet, "mnt", "net|user|uts")
		_, err = u.ID(Net | UTS)
		wantError(t, "two", err, errOneType, "net|uts")
		_, err = u.ID(0)
		wantError(t, "zero", err, os.ErrInvalid)
		_, err = u.ID(0x100)
		wantError(t, "unknown", err, os.ErrInvalid, "0x100")
	})
	t.Run("File", func(t *testing.T) {
		f, err := u.File(Net)
		if err != nil {
			t.Fatal(err)
		}
		link, err := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(f.Fd())))
		if err != nil || link != idOf(t, u, Net) {
			t.Errorf("%s, %v; want %s", link, err, idOf(t, u, Net))
		}
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("flags %#x, %v; want close-on-exec", flags, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		goIn(t, u) // the Set has its own
		_, err = u.File(IPC)
		wantError(t, "not in the Set", err, errNotInSet, "ipc")
	})
	t.Run("Dup", func(t *testing.T) {
		d := owned(t)(u.Dup())
		if d.String() != u.String() {
			t.Errorf("%v, want %v", d, u)
		}
		if d := owned(t)(u.Dup(Net, UTS)); d.Types() != Net|UTS || idOf(t, d, Net) != idOf(t, u, Net) {
			t.Errorf("net and uts: %v of %v", d, u)
		}
		_, err := u.Dup(Net, Mount|IPC)
		wantError(t, "not in the Set", err, errNotInSet, "ipc|mnt", "net|user|uts")
		_, err = u.Dup(0)
		wantError(t, "zero", err, os.ErrInvalid)

		one := owned(t)(u.Dup())
		one.Close()
		if p := goIn(t, d); p.NS["net"] != idOf(t, u, Net) {
			t.Errorf("after another's Close: in %s", p.NS["net"])
		}
	})
	t.Run("Without", func(t *testing.T) {
		if w := owned(t)(u.Without(User | Mount)); w.Types() != Net|UTS {
			t.Errorf("%v", w)
		}
		if w := owned(t)(u.Without(AllTypes)); w.Types() != 0 || w.String() != "{}" {
			t.Errorf("%v", w)
		}
		_, err := u.Without(0)
		wantError(t, "zero", err, os.ErrInvalid)
	})
	t.Run("With", func(t *testing.T) {
		w := owned(t)(u.With(cur))
		if w.Types() != User|Net|UTS|Mount || idOf(t, w, Net) != testenv.Home("net") || idOf(t, w, UTS) != idOf(t, u, UTS) {
			t.Errorf("%v", w)
		}
		if w := owned(t)(cur.With(u)); idOf(t, w, Net) != idOf(t, u, Net) || idOf(t, w, Mount) != testenv.Home("mnt") {
			t.Errorf("the other way: %v", w)
		}
		if w := owned(t)(u.With(u)); w.String() != u.String() {
			t.Errorf("with itself: %v", w)
		}
		if w := owned(t)(new(Set).With(u)); w.String() != u.String() {
			t.Errorf("the zero Set: %v", w)
		}
		_, err := u.With(nil)
		wantError(t, "nil", err, os.ErrInvalid)
	})
	t.Run("String", func(t *testing.T) {
		if got, want := cur.String(), "{"+testenv.Home("mnt")+" "+testenv.Home("net")+"}"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	})
}

func TestZeroSet(t *testing.T) {
	testenv.Need(t, testenv.Process)
	var s Set
	if s.Types() != 0 || s.Has(Net) || s.Has(0) || s.String() != "{}" {
		t.Errorf("types %v, %v", s.Types(), &s)
	}
	ran := false
	if err := s.Do(true, func() bool { ran = true; return true }); err != nil || !ran {
		t.Errorf("Do: %v, ran %v", err, ran)
	}
	oops := errors.New("oops")
	if err := s.Run(func() error { return oops }); err != oops {
		t.Errorf("Run: %v", err)
	}
	p, err := where.Do(context.Background(), &s, struct{}{})
	if err != nil || p.PID != os.Getpid() {
		t.Errorf("function: in %d, %v; want here", p.PID, err)
	}
	if p := goIn(t, &s); p.PID == os.Getpid() || p.NS["net"] != testenv.Home("net") {
		t.Errorf("function in a process: in %d, %s", p.PID, p.NS["net"])
	}
	if _, err := s.ID(Net); !errors.Is(err, errNotInSet) {
		t.Errorf("ID: %v", err)
	}
	wantClosed(t, &s)

	// One that was never used is closed as well.
	wantClosed(t, new(Set))
}

// wantClosed closes the Set and checks that everything is refused.
func wantClosed(t *testing.T, s *Set) {
	t.Helper()
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	ran := false
	other := new(Set)
	defer other.Close()
	for op, f := range map[string]func() error{
		"do":      func() error { return s.Do(true, func() bool { ran = true; return true }) },
		"run":     func() error { return s.Run(func() error { ran = true; return nil }) },
		"call":    func() error { _, err := where.Do(context.Background(), s, struct{}{}); return err },
		"in proc": func() error { _, err := where.Do(context.Background(), s, struct{}{}, InProcess()); return err },
		"id":      func() error { _, err := s.ID(Net); return err },
		"file":    func() error { _, err := s.File(Net); return err },
		"dup":     func() error { _, err := s.Dup(); return err },
		"without": func() error { _, err := s.Without(Net); return err },
		"with":    func() error { _, err := s.With(other); return err },
		"other":   func() error { _, err := other.With(s); return err },
		"unshare": func() error { _, err := s.Unshare(UTS); return err },
		"plan":    func() error { return s.Plan().Closures.Err },
		"planned": func() error { return s.Plan().Functions.Err },
		"owner":   func() error { _, err := s.Owner(Net); return err },
		"parent":  func() error { _, err := s.Parent(User); return err },
		"maker":   func() error { _, err := s.OwnerUID(); return err },
		"id maps": func() error { _, _, err := s.IDMaps(); return err },
		"pin":     func() error { return s.Pin("/nowhere") },
		"pin one": func() error { return s.PinNS(Net, "/nowhere") },
	} {
		if err := f(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", op, err)
		}
	}
	if ran || s.Types() != 0 || s.Has(Net) || s.String() != "{closed}" {
		t.Errorf("after Close: ran %v, types %v, %v", ran, s.Types(), s)
	}
}

func TestClosedSet(t *testing.T) {
	wantClosed(t, owned(t)(Current()))
	testenv.Need(t, testenv.UserNS, testenv.Process)
	s := unshare(t, User|UTS)
	pid := goIn(t, s).PID
	wantClosed(t, s)
	if err := unix.Kill(pid, 0); err != unix.ESRCH {
		t.Errorf("the worker after Close: %v", err)
	}
}

// Work in flight holds the namespaces; Close does not wait for closures.
func TestCloseDuringClosure(t *testing.T) {
	types := Type(0)
	s := owned(t)(Current())
	if os.Geteuid() == 0 {
		types = Net
		s = unshare(t, types)
	}
	want := foreign(t, s)
	h := hold(t, s, true, nil)
	s.Close()
	wantLinks(t, os.Getpid(), h.tid, want)
	if err := s.Do(true, func() bool { return true }); !errors.Is(err, ErrClosed) {
		t.Errorf("new work: %v", err)
	}
	if err := h.end(); err != nil {
		t.Error(err)
	}
	wantThreadGivenBack(t, h.tid)
}

func TestCloseInsideDo(t *testing.T) {
	testenv.Leaks(t)
	s := owned(t)(Current())
	if os.Geteuid() == 0 {
		s = unshare(t, Net|UTS)
	}
	before := foreign(t, s)
	if err := s.Run(func() error {
		if err := s.Close(); err != nil {
			return err
		}
		wantLinks(t, os.Getpid(), unix.Gettid(), before)
		return nil
	}); err != nil {
		t.Error(err)
	}
}

var untilCancelled = Register("test.until-cancelled", func(ctx context.Context, file string) (string, error) {
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return "", err
	}
	<-ctx.Done()
	return "cancelled", ctx.Err()
})

// Close cancels functions in the worker and waits for its end.
func TestCloseCancelsFunctions(t *testing.T) {
	testenv.Need(t, testenv.Process)
	testenv.Leaks(t)
	s := new(Set)
	pid := goIn(t, s).PID
	file := filepath.Join(t.TempDir(), "started")
	type answer struct {
		text string
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		text, err := untilCancelled.Do(context.Background(), s, file, InProcess())
		done <- answer{text, err}
	}()
	testenv.Eventually(t, "the function runs", func() bool { _, err := os.Stat(file); return err == nil })
	s.Close()
	if a := <-done; a.text != "cancelled" || !errors.Is(a.err, context.Canceled) {
		t.Errorf("%q, %v", a.text, a.err)
	}
	if err := unix.Kill(pid, 0); err != unix.ESRCH {
		t.Errorf("the worker after Close: %v", err)
	}
}

// nsFDs counts this process's descriptors of namespaces and checks that no
// child can inherit one.
func nsFDs(t testing.TB) int {
	t.Helper()
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, name := range names {
		link, err := os.Readlink("/proc/self/fd/" + name)
		typ, _, ok := strings.Cut(link, ":[")
		if _, known := typeByName(typ); err != nil || !ok || !known {
			continue
		}
		n++
		fd, _ := strconv.Atoi(name)
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s is not close-on-exec", link)
		}
	}
	return n
}

// vishvananda/netns#43: a Set costs one descriptor a type, none for what is
// home, and neither goroutines, threads nor processes.
func TestSetHoldsOneDescriptorPerType(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	collectGarbage(t)
	base := nsFDs(t)
	if base > numTypes {
		t.Errorf("home takes %d descriptors", base)
	}
	wantFDs := func(what string, n int) {
		t.Helper()
		if got := nsFDs(t) - base; got != n {
			t.Errorf("%s: %d descriptors, want %d", what, got, n)
		}
	}
	const types = User | Net | UTS | IPC | Mount | Cgroup
	s, err := Unshare(types)
	if err != nil {
		t.Fatal(err)
	}
	wantFDs("six types", 6)
	cur, err := Current()
	if err != nil {
		t.Fatal(err)
	}
	wantFDs("Current", 6)
	d, err := s.Dup()
	if err != nil {
		t.Fatal(err)
	}
	wantFDs("Dup", 6) // shared
	s.Plan()
	s.Close()
	wantFDs("with a Dup left", 6)
	d.Close()
	cur.Close()
	wantFDs("all closed", 0)

	goroutines, threads := runtime.NumGoroutine(), len(tasks(t))
	var sets []*Set
	for range 100 {
		s, err := Unshare(User | UTS)
		if err != nil {
			t.Fatal(err)
		}
		sets = append(sets, s)
	}
	wantFDs("a hundred Sets of two types", 200)
	if n := runtime.NumGoroutine() - goroutines; n > 0 {
		t.Errorf("a hundred Sets: %d goroutines", n)
	}
	if n := len(tasks(t)) - threads; n > 20 {
		t.Errorf("a hundred Sets: %d threads more", n)
	}
	for _, s := range sets {
		s.Close()
	}
	wantFDs("closed", 0)
}

// collectGarbage closes what earlier tests forgot.
func collectGarbage(t testing.TB) {
	n := -1
	testenv.Eventually(t, "forgotten Sets are gone", func() bool {
		last := n
		runtime.GC()
		n = nsFDs(t)
		return n == last
	})
}

func tasks(t testing.TB) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	var tids []int
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		tids = append(tids, tid)
	}
	return tids
}

func TestForgottenSetsAreCollected(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	collectGarbage(t)
	base := nsFDs(t)
	var workers []int
	func() {
		for i := range 20 {
			s, err := Unshare(User | UTS)
			if err != nil {
				t.Fatal(err)
			}
			if i%5 == 0 { // with a worker
				workers = append(workers, goIn(t, s).PID)
			}
			if _, err := s.Dup(); err != nil {
				t.Fatal(err)
			}
		}
	}()
	if nsFDs(t) <= base {
		t.Fatal("twenty Sets have no descriptors")
	}
	testenv.Eventually(t, "descriptors and workers of forgotten Sets are gone", func() bool {
		runtime.GC()
		for _, pid := range workers {
			if unix.Kill(pid, 0) == nil {
				return false
			}
		}
		return nsFDs(t) == base
	})
}

// systemd#42224: an id is another namespace's once the first is gone; while a
// Set holds it, it is not.
func TestHeldIDCannotBecomeAnothers(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	s := unshare(t, User|UTS)
	want, err := s.ID(UTS)
	if err != nil {
		t.Fatal(err)
	}
	// Numbers are used across types. What is made goes on to hold its own.
	again := func() bool {
		o := unshare(t, User|UTS)
		user, uerr := o.ID(User)
		uts, err := o.ID(UTS)
		if err := errors.Join(err, uerr); err != nil {
			t.Fatal(err)
		}
		return user.Ino == want.Ino || uts.Ino == want.Ino
	}
	for range 50 {
		if again() {
			t.Fatalf("another namespace is %v too", want)
		}
	}
	if got := goIn(t, s).NS["uts"]; got != want.String() {
		t.Errorf("work is in %s, want %v", got, want)
	}
	// Whatever holds it does: a Set's duplicate, a file.
	d := owned(t)(s.Dup())
	f, err := s.File(UTS)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	d.Close()
	for range 50 {
		if again() {
			t.Fatalf("another namespace is %v too, while a file is open", want)
		}
	}
	// Then it is: the kernel gives the lowest free number.
	f.Close()
	for range 200 {
		if again() {
			return
		}
	}
	t.Logf("somebody else got the number of %v, or nobody", want)
}

func TestSetIsSafeForConcurrentUse(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	s, err := Unshare(User | UTS)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		if err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrWorkerDied) {
			t.Error(err)
		}
	}
	var wg sync.WaitGroup
	started := make(chan struct{}, 100)
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				d, err := s.Dup()
				check(err)
				if err == nil {
					check(d.Close())
				}
				_, err = s.ID(UTS)
				check(err)
				f, err := s.File(User)
				check(err)
				f.Close()
				_ = s.String()
				s.Plan()
				if i == 0 {
					_, err = where.Do(context.Background(), s, struct{}{})
					check(err)
				}
				select {
				case started <- struct{}{}:
				default:
				}
			}
		})
	}
	for range 40 {
		<-started
	}
	for range 3 {
		wg.Go(func() { check(s.Close()) })
	}
	wg.Wait()
}
