package gonsotest

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func TestNewClosesWithTheTest(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	var s *gonso.Set
	t.Run("test", func(t *testing.T) {
		s = New(t, gonso.User|gonso.UTS)
		if !s.Has(gonso.User | gonso.UTS) {
			t.Errorf("it made %v", s)
		}
	})
	if s.String() != "{closed}" {
		t.Errorf("after the test it is %v", s)
	}
}

func TestNewSkipsAPlainUser(t *testing.T) {
	testenv.Need(t, testenv.Plain)
	t.Setenv("GONSO_TEST_REQUIRE", "")
	r, returned, _ := listen(func(r *recorder) { New(r, gonso.UTS) })
	if returned || !r.skipped || !strings.HasPrefix(r.said, "skip: needs root: gonso: unshare uts: ") {
		t.Errorf("%+v", r)
	}
	t.Setenv("GONSO_TEST_REQUIRE", "root")
	r, returned, _ = listen(func(r *recorder) { New(r, gonso.UTS) })
	if returned || !r.failed || !strings.HasPrefix(r.said, "needs root, which GONSO_TEST_REQUIRE promises with root: ") {
		t.Errorf("%+v", r)
	}
	maps := gonso.IDMaps([]gonso.IDMap{{ContainerID: 0, HostID: 0, Size: 1}}, []gonso.IDMap{{ContainerID: 0, HostID: 0, Size: 1}})
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("newuidmap"))
	t.Setenv("GONSO_TEST_REQUIRE", "userns")
	r, returned, _ = listen(func(r *recorder) { New(r, gonso.User, maps) })
	if returned || !r.skipped || !strings.HasPrefix(r.said, "skip: needs root: gonso: unshare user: IDMaps: uid map, ") {
		t.Errorf("somebody else's ids: %+v", r)
	}
}

func TestDoIsInside(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	s := New(t, gonso.UTS)
	id, err := s.ID(gonso.UTS)
	if err != nil {
		t.Fatal(err)
	}
	var tid int
	ran := false
	Do(t, s, func() {
		tid = unix.Gettid()
		if at := testenv.Self(t, "uts"); at != id.String() {
			t.Errorf("in %s, not in %v", at, id)
		}
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
		}
		ran = true
	})
	if !ran {
		t.Error("it did not run")
	}
	// Whatever the function did to the thread ends with it.
	testenv.Eventually(t, "the thread ends", func() bool { return unix.Tgkill(os.Getpid(), tid, 0) != nil })
}

// endings are what a function in Do may end with; each is seen with a recorder
// and in a real test.
var endings = []struct {
	name    string
	f       func(tb testing.TB)
	failed  bool
	skipped bool
	said    string
}{
	{"Fatal", func(tb testing.TB) { tb.Fatal("that was that") }, true, false, "that was that"},
	{"Fatalf", func(tb testing.TB) { tb.Fatalf("that was %s", "that") }, true, false, "that was that"},
	{"FailNow", func(tb testing.TB) { tb.FailNow() }, true, false, ""},
	{"Skip", func(tb testing.TB) { tb.Skip("not today") }, false, true, "not today"},
	{"SkipNow", func(tb testing.TB) { tb.SkipNow() }, false, true, ""},
	{"Goexit", func(testing.TB) { runtime.Goexit() }, true, false, gonso.ErrGoexit.Error()},
}

func TestFatalAndSkipInDoEndTheTest(t *testing.T) {
	for _, e := range endings {
		r, returned, panicked := listen(func(r *recorder) { Do(r, new(gonso.Set), func() { e.f(r) }) })
		if returned || panicked != nil || r.failed != e.failed || r.skipped != e.skipped || !strings.Contains(r.said, e.said) {
			t.Errorf("%s: %+v, returned %v, panicked %v", e.name, r, returned, panicked)
		}
	}
	r, returned, panicked := listen(func(r *recorder) { Do(r, new(gonso.Set), func() { panic("on purpose") }) })
	pe, ok := panicked.(*gonso.PanicError)
	if returned || r.failed || !ok || pe.Value != "on purpose" || !strings.Contains(string(pe.Stack), "gonsotest_linux_test.go") {
		t.Errorf("panic: %+v, %v", r, panicked)
	}
	if r, returned, _ := listen(func(r *recorder) { Do(r, new(gonso.Set), func() {}) }); !returned || r.failed || r.skipped {
		t.Errorf("nothing: %+v", r)
	}
}

// A failing test cannot be part of one that passes, so it is run in another process.
func TestEndingsOfRealTests(t *testing.T) {
	if testenv.IsAgain(t) {
		for _, e := range endings {
			if e.name == os.Getenv("ENDING") {
				t.Run("subtest", func(t *testing.T) {
					Do(t, new(gonso.Set), func() { e.f(t) })
					t.Log("it went on")
				})
			}
		}
		return
	}
	for _, e := range endings {
		cmd := testenv.Again(t)
		cmd.Env = append(cmd.Env, "ENDING="+e.name)
		out, err := cmd.CombinedOutput()
		verdict := "--- FAIL: TestEndingsOfRealTests/subtest"
		if e.skipped {
			verdict = "--- SKIP: TestEndingsOfRealTests/subtest"
		}
		var exit *exec.ExitError
		if e.failed != errors.As(err, &exit) || !strings.Contains(string(out), verdict) || !strings.Contains(string(out), e.said) ||
			strings.Contains(string(out), "it went on") || strings.Contains(string(out), "panic") {
			t.Errorf("%s: %v\n%s", e.name, err, out)
		}
	}
}

func TestSetThatNoThreadEntersFailsTheTest(t *testing.T) {
	closed := new(gonso.Set)
	closed.Close()
	r, returned, _ := listen(func(r *recorder) { Do(r, closed, func() { t.Error("it ran") }) })
	if returned || !r.failed || !strings.Contains(r.said, strings.TrimPrefix(gonso.ErrClosed.Error(), "gonso: ")) {
		t.Errorf("closed: %+v", r)
	}
	s := New(t, gonso.User)
	r, returned, _ = listen(func(r *recorder) { Do(r, s, func() { t.Error("it ran") }) })
	if returned || !r.failed || !strings.Contains(r.said, strings.TrimPrefix(gonso.ErrNeedsProcess.Error(), "gonso: ")) {
		t.Errorf("user: %+v", r)
	}
}
