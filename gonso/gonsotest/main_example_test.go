//go:build linux

package gonsotest_test

import (
	"testing"

	"github.com/gonso/gonso/gonso/gonsotest"
)

// In a package whose tests need to be root, all of TestMain:
//
//	func TestMain(m *testing.M) { gonsotest.Main(m) }
func ExampleMain() {
	TestMain := func(m *testing.M) { gonsotest.Main(m) }
	_ = TestMain
}
