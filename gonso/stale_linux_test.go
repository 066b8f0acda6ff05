package gonso

import (
	"io/fs"
	"os"
	"strings"
	"testing"
)

// A file in /run/netns that is left over says nothing of namespaces to who looks at it.
func TestStalePinCannotBeMistakenForAnotherFile(t *testing.T) {
	dir, named, other := t.TempDir(), t.TempDir(), t.TempDir()
	for _, name := range []string{dir + "/blue", named + "/net"} {
		if err := os.WriteFile(name, nil, 0o444); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(other+"/full", []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	const says = "nothing mounted on it"
	_, err := Open(dir + "/blue")
	wantError(t, "Open", err, ErrNotNamespace, dir+"/blue", says)
	_, err = FromDir(named)
	wantError(t, "FromDir", err, ErrNotNamespace, named+"/net", says)
	_, err = FromDir(dir)
	wantError(t, "FromDir of other names", err, fs.ErrNotExist, dir, says, `"blue"`)
	if _, err := Open(other + "/full"); err == nil || strings.Contains(err.Error(), says) {
		t.Errorf("a file with something in it: %v", err)
	}
	if _, err := FromDir(other); err == nil || strings.Contains(err.Error(), says) {
		t.Errorf("a directory with such: %v", err)
	}
}

// A file of the kernel's has no size either, and nothing was pinned there.
func TestFileOfTheKernelsCannotBeTakenForAStalePin(t *testing.T) {
	for _, path := range []string{"/proc/self/status", "/proc/sys/kernel/osrelease", "/sys/fs/cgroup/cgroup.procs"} {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		if _, err := Open(path); err == nil || strings.Contains(err.Error(), nothingMounted) {
			t.Errorf("%v", err)
		}
	}
}
