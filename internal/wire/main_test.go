package wire

import (
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	if run := testMode[os.Getenv("WIRE_TEST_PEER")]; run != nil { // a second process for benchmarks
		run()
		return
	}
	os.Exit(m.Run())
}

// testMode is filled where the operating system has what it needs.
var testMode = map[string]func(){}
