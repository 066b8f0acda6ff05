package testenv

import (
	"flag"
	"os"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// In the environment of runs of only some tests.
const (
	stressEnv = "GONSO_TEST_STRESS" // runs the Long tests, at full length
	nestedEnv = "GONSO_TEST_NESTED" // runs the AlsoNested tests
)

var long, alsoNested []string

// Long marks a test that make stress runs, at full length.
//
//	var _ = testenv.Long(TestManyThings)
func Long(test func(*testing.T)) bool {
	long = append(long, nameOf(test))
	return true
}

// Full reports whether Long tests must run at full length. Otherwise they take a second or two,
// enough to see that everything works.
func Full() bool { return os.Getenv(stressEnv) != "" && !Race && !short() }

// short is testing.Short. It works, too, in programs that tests start, which do not have that flag.
func short() bool { return testing.Testing() && flag.Parsed() && testing.Short() }

// Bound returns how long a task may take that normally has d. It is more with the race detector,
// and if tests must be short, as on emulated processors.
func Bound(d time.Duration) time.Duration {
	if Race || short() {
		return 3 * d
	}
	return d
}

// Times is full if Full, else short.
func Times(full, short int) int {
	if Full() {
		return full
	}
	return short
}

// AlsoNested marks a test that must also pass if this program is itself in namespaces.
//
//	var _ = testenv.AlsoNested(TestThing)
func AlsoNested(test func(*testing.T)) bool {
	alsoNested = append(alsoNested, nameOf(test))
	return true
}

// NestedEnv makes this test binary run only the AlsoNested tests.
func NestedEnv() string { return nestedEnv + "=1" }

func nameOf(test func(*testing.T)) string {
	name := runtime.FuncForPC(reflect.ValueOf(test).Pointer()).Name()
	return name[strings.LastIndexByte(name, '.')+1:]
}

// selectTests makes only marked tests run if the environment asks for this, unless some tests are
// chosen by name.
func selectTests() {
	tests := long
	switch {
	case os.Getenv(nestedEnv) != "":
		tests = alsoNested
	case os.Getenv(stressEnv) == "":
		return
	}
	flag.Parse()
	if run := flag.Lookup("test.run"); run.Value.String() == "" {
		run.Value.Set("^(" + strings.Join(append(tests, "none"), "|") + ")$")
	}
}
