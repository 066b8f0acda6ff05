package gonsotest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv("GONSOTEST_MAIN") != "" {
		Main(m)
	}
	testenv.Main(m, gonso.Init)
}

// recorder is a test that is not run but listened to.
type recorder struct {
	testing.TB
	said            string
	failed, skipped bool
	cleanups        []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Failed() bool     { return r.failed }
func (r *recorder) Skipped() bool    { return r.skipped }
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) FailNow() {
	r.failed = true
	runtime.Goexit()
}

func (r *recorder) SkipNow() {
	r.skipped = true
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) { r.Fatalf("%s", fmt.Sprint(args...)) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.said = fmt.Sprintf(format, args...)
	r.FailNow()
}

func (r *recorder) Skip(args ...any) { r.Skipf("%s", fmt.Sprint(args...)) }

func (r *recorder) Skipf(format string, args ...any) {
	r.said = fmt.Sprintf(format, args...)
	r.SkipNow()
}

// listen runs f as a test would be, and tells whether it returned, and what it
// panicked with.
func listen(f func(r *recorder)) (r *recorder, returned bool, panicked any) {
	r = &recorder{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		f(r)
		returned = true
	}()
	<-done
	return r, returned, panicked
}

func TestWhatTheMachineLacksSkips(t *testing.T) {
	failure := func(op string, err error) error { return &gonso.Error{Op: op, Err: err} }
	for _, c := range []struct {
		types   gonso.Type
		options bool
		err     error
		need    string // "" if the test fails
		promise string
	}{
		{gonso.Net, false, failure("unshare", syscall.EPERM), "root", "root"},
		{gonso.Net, false, failure("unshare", syscall.EACCES), "root", "root"},
		{gonso.User | gonso.Net, false, failure("unshare", syscall.EPERM), "user namespaces", "userns"},
		{gonso.User, false, failure("write uid_map of", syscall.EPERM), "user namespaces", "userns"},
		{gonso.User, true, failure("write uid_map of", syscall.EPERM), "root", "root"},
		{gonso.User, true, failure("unshare", syscall.EPERM), "user namespaces", "userns"},
		{gonso.Net, false, failure("unshare", syscall.ENOSPC), "room for net namespaces", "root"},
		{gonso.User, false, failure("unshare", syscall.EUSERS), "room for user namespaces", "userns"},
		{gonso.Cgroup, false, failure("unshare", syscall.EINVAL), "cgroup namespaces", ""},
		{gonso.User | gonso.Time, false, failure("unshare", errors.ErrUnsupported), "time|user namespaces", "userns"},
		{gonso.Time, false, failure("unshare", errors.ErrUnsupported), "time namespaces", ""},
		{gonso.Time, false, failure("current", fs.ErrNotExist), "time namespaces", ""},
		{gonso.User, true, failure("write uid_map of", syscall.EINVAL), "", ""},
		{gonso.User, true, failure("unshare", os.ErrInvalid), "", ""},
		{gonso.User, false, gonso.ErrWorkerDied, "", ""},
	} {
		what := fmt.Sprintf("%v, options %v, %v", c.types, c.options, c.err)
		for _, promised := range []string{"", "root", "tools,userns,else", "rooted"} {
			t.Setenv("GONSO_TEST_REQUIRE", promised)
			r, returned, panicked := listen(func(r *recorder) { refuse(r, c.types, c.options, c.err) })
			fails := c.need == "" || c.promise != "" && (promised == c.promise || strings.Contains(promised, ","+c.promise+","))
			begins := "skip: needs " + c.need + ": "
			if fails {
				begins = "needs " + c.need + ", which GONSO_TEST_REQUIRE promises"
			}
			if c.need == "" {
				begins = "gonsotest: "
			}
			if returned || panicked != nil || r.failed != fails || r.skipped == fails ||
				!strings.HasPrefix(r.said, begins) || !strings.HasSuffix(r.said, c.err.Error()) {
				t.Errorf("%s, with %q promised: failed %v, skipped %v: %s", what, promised, r.failed, r.skipped, r.said)
			}
		}
	}
}

func TestNewRefusesWhatCannotBeMeant(t *testing.T) {
	r, returned, _ := listen(func(r *recorder) { New(r, 0) })
	if returned || !r.failed || !strings.Contains(r.said, "no namespace type given") {
		t.Errorf("no type: %+v", r)
	}
	r, returned, _ = listen(func(r *recorder) { New(r, gonso.Net, gonso.NoIDMaps()) })
	if returned || !r.failed || !strings.Contains(r.said, "NoIDMaps needs user") {
		t.Errorf("an option without its type: %+v", r)
	}
	for name, f := range map[string]func(r *recorder){
		"nil Set":      func(r *recorder) { Do(r, nil, func() { t.Error("it ran") }) },
		"nil function": func(r *recorder) { Do(r, new(gonso.Set), nil) },
	} {
		if r, returned, panicked := listen(f); returned || !r.failed || panicked != nil {
			t.Errorf("%s: %+v, %v", name, r, panicked)
		}
	}
}
