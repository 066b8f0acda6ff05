//go:build linux

// Package roottests has a test that needs root, and that a plain user runs all the same.
package roottests

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/gonso/gonsotest"
)

func TestMain(m *testing.M) { gonsotest.Main(m) }

func TestMountIsOurOwn(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("not root")
	}
	s := gonsotest.New(t, gonso.Mount)
	dir := t.TempDir()
	gonsotest.Do(t, s, func() {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "inside"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("outside there is %v, %v", entries, err)
	}
}
