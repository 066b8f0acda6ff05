package gonsotest

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/gonso/gonso/gonso"
)

// New makes new namespaces, as [gonso.Unshare] does and with its privileges, and closes the Set at
// the end of the test. The test is skipped if they cannot be made: if the system or the kernel does
// not have them, if a limit is reached, or if the user may not. Any other error fails the test.
func New(tb testing.TB, types gonso.Type, opts ...gonso.UnshareOption) *gonso.Set {
	tb.Helper()
	s, err := gonso.Unshare(types, opts...)
	if err != nil {
		refuse(tb, types, len(opts) > 0, err)
		return nil
	}
	tb.Cleanup(func() { s.Close() })
	return s
}

// refuse ends a test that gets no Set.
func refuse(tb testing.TB, types gonso.Type, options bool, err error) {
	tb.Helper()
	need, promise := lacks(types, options, err)
	switch {
	case need == "":
		tb.Fatalf("gonsotest: %v", err)
	case promise != "" && promised(promise) != "":
		tb.Fatalf("needs %s, which GONSO_TEST_REQUIRE promises with %s: %v", need, promise, err)
	default:
		tb.Skipf("skip: needs %s: %v", need, err)
	}
}

// lacks says what the machine lacks, if the error means that. promise is the promise of
// GONSO_TEST_REQUIRE that the machine has it. options says whether the caller has passed options.
func lacks(types gonso.Type, options bool, err error) (need, promise string) {
	var op string
	ids := false // the error is about an option for ids
	if e := (*gonso.Error)(nil); errors.As(err, &e) {
		op = e.Op
		about := e.Err.Error() // begins with the option, if it is about one
		ids = strings.HasPrefix(op, "write") || strings.HasPrefix(about, "IDMaps: ") || strings.HasPrefix(about, "OwnerUID: ")
	}
	user := types&gonso.User != 0
	if user {
		promise = "userns"
	}
	switch {
	case errors.Is(err, errors.ErrUnsupported),
		op == "unshare" && errors.Is(err, syscall.EINVAL), // a type that the kernel was built without
		op == "current" && errors.Is(err, fs.ErrNotExist): // the same, before anything is made
		return types.String() + " namespaces", promise
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EUSERS):
		if !user {
			promise = "root"
		}
		return "room for " + types.String() + " namespaces", promise
	case errors.Is(err, fs.ErrPermission): // EPERM and EACCES
		// Only root may write id maps other than the default, even if users may make the namespace.
		if !user || options && ids {
			return "root", "root"
		}
		return "user namespaces", promise
	}
	return "", ""
}

// Do runs f inside the Set, on a thread that ends with it, and waits for it.
//
// f may call the methods of tb that end the test, such as Fatal, FailNow and Skip. They end f, and
// then the goroutine that called Do. Call Do in the goroutine of the test. A panic in f goes on in
// the caller, as with [gonso.Set.Do]. The test fails if the Set cannot be entered: if it is closed,
// if no thread can enter it ([gonso.ErrNeedsProcess]), or if the user may not.
//
// Other goroutines that f starts are not inside, and subtests are such goroutines.
func Do(tb testing.TB, s *gonso.Set, f func()) {
	tb.Helper()
	if s == nil || f == nil {
		tb.Fatal("gonsotest: the Set or the function is nil")
		return
	}
	err := s.Do(false, func() bool {
		f()
		return false
	})
	switch {
	case err == nil:
	case errors.Is(err, gonso.ErrGoexit) && tb.Skipped():
		tb.SkipNow()
	case errors.Is(err, gonso.ErrGoexit) && tb.Failed():
		tb.FailNow()
	default:
		tb.Fatalf("gonsotest: %v", err)
	}
}
