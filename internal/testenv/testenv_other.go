//go:build !linux

package testenv

import (
	"errors"
	"os"
	"testing"
)

// Main runs the tests; they cannot leave anything behind.
func Main(m *testing.M, init func()) {
	Begin()
	if init != nil {
		init()
	}
	os.Exit(m.Run())
}

// Leaks does nothing here.
func Leaks(testing.TB) {}

// OnThread runs f.
func OnThread(f func()) { f() }

// NSLink has nothing to read here.
func NSLink(int, int, string) (string, error) { return "", errors.ErrUnsupported }

// Self does not know of namespaces here.
func Self(testing.TB, string) string { return "" }

// Home does not know of namespaces here.
func Home(string) string { return "" }

func userNS() string { return "not Linux" }

func noMemoryCgroup() string { return "not Linux" }
func noPidsCgroup() string   { return "not Linux" }
