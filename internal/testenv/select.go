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
	stressEnv = "GONSO_TEST_STRESS" // those that are Long, at full length
	nestedEnv = "GONSO_TEST_NESTED" // those that are AlsoNested
)

var long, alsoNested []string

// Long marks a test that make stress runs, at full length.
//
//	var _ = testenv.Long(TestManyThings)
func Long(test func(*testing.T)) bool {
	long = append(long, nameOf(test))
	return true
}

// Full reports whether Long tests are to run at full length: otherwise they do
// enough to see that all works, in a second or two.
func Full() bool { return os.Getenv(stressEnv) != "" && !Race && !short() }

// short is testing.Short also in programs that tests start, which have no such flag.
func short() bool { return testing.Testing() && flag.Parsed() && testing.Short() }

// Bound is how long a thing may take that has d for it: more with the race detector, and where tests
// are asked to be short, as on emulated processors.
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

// AlsoNested marks a test that is to pass, too, where this program is itself in
// namespaces.
//
//	var _ = testenv.AlsoNested(TestThing)
func AlsoNested(test func(*testing.T)) bool {
	alsoNested = append(alsoNested, nameOf(test))
	return true
}

// NestedEnv makes a run of this test binary one of the tests that are
// AlsoNested.
func NestedEnv() string { return nestedEnv + "=1" }

func nameOf(test func(*testing.T)) string {
	name := runtime.FuncForPC(reflect.ValueOf(test).Pointer()).Name()
	return name[strings.LastIndexByte(name, '.')+1:]
}

// selectTests has only marked tests run where that is asked for, unless some are
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
