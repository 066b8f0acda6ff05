package gonso

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// goesOn is a function that Go has started, and that waits.
type goesOn struct {
	tid  int
	stop func() // lets it return, and waits for that
}

func goWaiting(t testing.TB, s *Set, opts ...DoOption) goesOn {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	tid := 0
	if err := s.Go(func() error { tid = unix.Gettid(); return nil }, func() {
		defer close(done)
		if now := unix.Gettid(); now != tid {
			t.Errorf("setup ran on thread %d, f on %d", tid, now)
		}
		<-stop
	}, opts...); err != nil {
		t.Fatal(err)
	}
	return goesOn{tid, func() { close(stop); <-done }}
}

// Inside, on a thread that is not the caller's, from setup to the end; and given back then.
func TestGoRunsInside(t *testing.T) {
	testenv.Leaks(t)
	s := threadSet(t)
	r := goWaiting(t, s)
	if r.tid == unix.Gettid() || r.tid == os.Getpid() {
		t.Errorf("it runs on thread %d", r.tid)
	}
	wantLinks(t, os.Getpid(), r.tid, foreign(t, s))
	r.stop()
	if !testenv.Poll(func() bool {
		at, err := testenv.NSLink(os.Getpid(), r.tid, "net")
		return err == nil && at == testenv.Home("net")
	}) {
		t.Error("the thread has not come home")
	}
	wantThreadGivenBack(t, r.tid)

	r = goWaiting(t, s, EndThread())
	r.stop()
	wantThreadGone(t, r.tid)
	r = goWaiting(t, s, Dir("/"), Umask(0o77))
	if got := statusOfThread(t, r.tid)["Umask"]; got != "0077" {
		t.Errorf("umask %s", got)
	}
	r.stop()
	wantThreadGone(t, r.tid)

	// Without setup Go returns all the same once it is inside.
	tid, stop := make(chan int, 1), make(chan struct{})
	if err := s.Go(nil, func() { tid <- unix.Gettid(); <-stop }); err != nil {
		t.Fatal(err)
	}
	wantLinks(t, os.Getpid(), <-tid, foreign(t, s))
	close(stop)
}

func statusOfThread(t testing.TB, tid int) map[string]string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/status", tid))
	if err != nil {
		t.Fatal(err)
	}
	return fields(string(b))
}

// A server whose listener is made by setup: when Go has returned it can be dialled.
func TestServerOfGoListensInside(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s := unshare(t, Net, LoopbackUp())
	var l net.Listener
	ended := make(chan error, 1)
	err := s.Go(func() (err error) {
		l, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	}, func() {
		ended <- func() error {
			for {
				c, err := l.Accept()
				if err != nil {
					return err
				}
				go func() { // outside, and the connection is inside all the same
					io.WriteString(c, "from inside\n")
					c.Close()
				}()
			}
		}()
	})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close()
		t.Error("it can be reached from outside")
	}
	for range 3 {
		c, err := s.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(c).ReadString('\n')
		c.Close()
		if err != nil || line != "from inside\n" {
			t.Errorf("%q, %v", line, err)
		}
	}
	l.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Error(err)
	}
}

func TestErrorOfSetupIsThatOfGo(t *testing.T) {
	testenv.Leaks(t)
	s := threadSet(t)
	oops, tid := errors.New("oops"), 0
	never := func() { t.Error("f ran") }
	if err := s.Go(func() error { tid = unix.Gettid(); return oops }, never); err != oops {
		t.Errorf("%v, want %v", err, oops)
	}
	wantThreadGivenBack(t, tid)
	if err := s.Go(func() error { tid = unix.Gettid(); return oops }, never, EndThread()); err != oops {
		t.Errorf("%v, want %v", err, oops)
	}
	wantThreadGone(t, tid)

	err := s.Go(func() error { tid = unix.Gettid(); runtime.Goexit(); return nil }, never)
	wantError(t, "Goexit", err, ErrGoexit)
	wantThreadGone(t, tid)

	var pe *PanicError
	func() {
		defer func() { pe, _ = recover().(*PanicError) }()
		t.Errorf("Go returned %v", s.Go(func() error { tid = unix.Gettid(); panicsInside(oops)(); return nil }, never))
	}()
	if pe == nil || pe.Value != oops || !strings.Contains(string(pe.Stack), "panicsInside") {
		t.Errorf("panic of setup: %+v", pe)
	}
	wantThreadGone(t, tid)

	setup := func() error { t.Error("setup ran"); return nil }
	for what, err := range map[string]error{
		"nil f":     s.Go(setup, nil),
		"InProcess": s.Go(setup, never, InProcess()),
		"Isolated":  s.Go(setup, never, Isolated()),
		"bad Dir":   s.Go(setup, never, Dir("")),
	} {
		wantError(t, what, err, os.ErrInvalid, "gonso: go:")
	}
	err = s.Go(setup, never, Dir("/no such"))
	wantError(t, "missing Dir", err, os.ErrNotExist, "gonso: go:", "Dir", "/no such")
	s.Close()
	err = s.Go(setup, never)
	wantError(t, "closed", err, ErrClosed)
}

func TestGoCannotEnterWhatNeedsAProcess(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	s := unshare(t, User|Net)
	err := s.Go(func() error { t.Error("setup ran"); return nil }, func() { t.Error("f ran") })
	wantError(t, "user", err, ErrNeedsProcess)
}

// f holds the namespaces, and nothing else: when it has ended, nothing is left.
func TestCloseWhileGoRuns(t *testing.T) {
	testenv.Leaks(t)
	s := threadSet(t)
	in := foreign(t, s)
	r := goWaiting(t, s)
	c := s.c
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantLinks(t, os.Getpid(), r.tid, in)
	if n := c.refs.Load(); n != 1 {
		t.Errorf("%d references, want that of f", n)
	}
	if err := c.ns[Net.index()].Check(); err != nil {
		t.Error(err)
	}
	r.stop()
	if !testenv.Poll(func() bool { return c.refs.Load() == 0 }) {
		t.Errorf("%d references are left", c.refs.Load())
	}

	// By f itself, and with Goexit.
	s = owned(t)(Current(Net, UTS))
	tid := make(chan int)
	if err := s.Go(nil, func() { s.Close(); tid <- unix.Gettid(); runtime.Goexit() }); err != nil {
		t.Fatal(err)
	}
	wantThreadGone(t, <-tid)
	if !testenv.Poll(func() bool { return s.c.refs.Load() == 0 }) {
		t.Errorf("after Goexit: %d references are left", s.c.refs.Load())
	}
}

func TestThreadThatGoHasLeftLockedIsGone(t *testing.T) {
	testenv.Leaks(t)
	s := threadSet(t)
	tid := make(chan int, 1)
	if err := s.Go(nil, func() { runtime.LockOSThread(); tid <- unix.Gettid() }); err != nil {
		t.Fatal(err)
	}
	wantThreadGone(t, <-tid)
}

func init() { testenv.Program("panics in Go", panicsInGo) }

func panicsInGo() {
	var s Set
	wait := make(chan struct{})
	err := s.Go(nil, func() {
		<-wait
		crashInGo()
	})
	fmt.Println("Go returned", err)
	close(wait)
	select {}
}

func crashInGo() { panic("boom") }

// As of any goroutine: what f does after Go has returned nobody can recover, and it cannot vanish.
func TestPanicAfterGoEndsTheProgram(t *testing.T) {
	testenv.Leaks(t)
	c := testenv.Command(t, "panics in Go")
	var stderr strings.Builder
	c.Stderr = &stderr
	out, err := c.Output()
	if err == nil || c.ProcessState.ExitCode() != 2 || string(out) != "Go returned <nil>\n" {
		t.Errorf("%v, %q", err, out)
	}
	if got := stderr.String(); !strings.HasPrefix(got, "panic: boom\n") || !strings.Contains(got, ".crashInGo(") {
		t.Errorf("%s", got)
	}
}

// The borrowed number is the Set's own, and never that of something else.
func TestFdIsBorrowed(t *testing.T) {
	testenv.Leaks(t)
	s := threadSet(t)
	fd := s.Fd(Net)
	if fd != s.Fd(Net) {
		t.Errorf("%d, then %d", fd, s.Fd(Net))
	}
	if got, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err != nil || got != idOf(t, s, Net) {
		t.Errorf("%d is %s, %v; want %s", fd, got, err, idOf(t, s, Net))
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
	d := owned(t)(s.Dup())
	for what, got := range map[string]int{
		"missing": s.Fd(IPC), "several": s.Fd(Net | UTS), "none": s.Fd(0), "unknown": s.Fd(1), "zero Set": new(Set).Fd(Net),
	} {
		if got != -9 {
			t.Errorf("%s: %d", what, got)
		}
	}
	s.Close()
	if got := s.Fd(Net); got != -9 {
		t.Errorf("closed: %d", got)
	}
	if err := unix.Setns(s.Fd(Net), unix.CLONE_NEWNET); err != unix.EBADF {
		t.Errorf("setns to it: %v", err)
	}
	if got := d.Fd(Net); got < 0 {
		t.Errorf("of the Dup: %d", got)
	}
}

// Somebody has closed the descriptor, and its number is another file's.
func TestFdCannotBeAnothersNumber(t *testing.T) {
	testenv.Need(t, testenv.Root)
	c := testenv.Command(t, "loses its Set's descriptor")
	out, err := c.CombinedOutput()
	if err != nil || string(out) != "-9 true\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func init() { testenv.Program("loses its Set's descriptor", losesFd) }

func losesFd() {
	s, err := Unshare(Net)
	if err != nil {
		panic(err)
	}
	home, err := Current(Net)
	if err != nil {
		panic(err)
	}
	for _, set := range []*Set{s, home} {
		if err := unix.Dup3(2, set.Fd(Net), unix.O_CLOEXEC); err != nil {
			panic(err)
		}
	}
	link, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", home.Fd(Net)))
	fmt.Println(s.Fd(Net), link == testenv.Home("net"))
	runtime.KeepAlive(s)
}
