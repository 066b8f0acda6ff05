package gonsotest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/gonso/gonso/gonso"
)

// Main runs the tests of a package as root, and does not return. It is all of a TestMain:
//
//	func TestMain(m *testing.M) { gonsotest.Main(m) }
//
// For a plain user, the test binary is started once more in a new user namespace, in which the user
// is root, and takes the place of this one ([gonso.Cmd.RunAndExit]). Tests may then make and enter
// namespaces ([New], [Do]), mount in a mnt namespace of their own, and set up networks. Arguments,
// standard streams, environment and working directory are the same. Signals, the exit status,
// coverage and the test cache work as without Main. For root (effective uid 0), Main only runs the
// tests.
//
// Main calls [gonso.Init] first, so that tests may call registered functions. Code of TestMain
// before the call of Main runs twice, outside and inside. Only the standard streams get inside, and
// no other descriptors.
//
// Root inside is root of nothing outside: files belong to the user, and only the user's own uid and
// gid are mapped, both to 0. Work that needs the privileges of the machine's root, such as loading
// modules or making a device, fails as before. If /proc is partly hidden, as in many containers, no
// other procfs can be mounted.
//
// If no user namespace can be made, no test runs. Main prints a reason that begins with "skip:
// needs". The go command prints "[no tests to run]", and does not cache that. If GONSO_TEST_REQUIRE
// promises root or userns, the run fails instead.
//
// The tests of a plain user need the right to make user namespaces ([gonso.Unshare]), and the
// process backend.
func Main(m *testing.M) {
	gonso.Init()
	if os.Geteuid() == 0 {
		os.Exit(m.Run())
	}
	s, err := gonso.Unshare(gonso.User)
	if err != nil {
		os.Exit(without(m, err))
	}
	s.Self(context.Background(), os.Args[1:]...).RunAndExit()
}

// without is the exit status if no user namespace can be made.
func without(m *testing.M, err error) int {
	need, _ := lacks(gonso.User, false, err)
	switch promise := promised("userns", "root"); {
	case need == "":
		fmt.Fprintf(os.Stderr, "gonsotest: %v\n", err)
		return 1
	case promise != "":
		fmt.Fprintf(os.Stderr, "needs %s, which GONSO_TEST_REQUIRE promises with %s: %v\n", need, promise, err)
		return 1
	}
	fmt.Fprintf(os.Stderr, "skip: needs %s: %v\n", need, err)
	// The go command caches a result until a file or variable in its log changes. The log does not
	// say whether user namespaces are allowed.
	if err := runNothing(); err != nil {
		fmt.Fprintf(os.Stderr, "gonsotest: %v\n", err)
		return 1
	}
	return m.Run()
}

// runNothing makes m.Run run no test. The go command then says so.
func runNothing() error {
	flag.Parse()
	var errs []error
	for _, f := range []struct{ name, value string }{
		{"test.skip", "."}, {"test.bench", ""}, {"test.fuzz", ""}, {"test.testlogfile", ""},
	} {
		errs = append(errs, flag.Set(f.name, f.value))
	}
	return errors.Join(errs...)
}

// promised is the first of the names that GONSO_TEST_REQUIRE has, or "".
func promised(names ...string) string {
	all := strings.Split(os.Getenv("GONSO_TEST_REQUIRE"), ",")
	for _, name := range names {
		if slices.Contains(all, name) {
			return name
		}
	}
	return ""
}
