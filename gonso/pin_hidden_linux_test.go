package gonso

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// A pin in a directory on which somebody mounts that directory once more, as the first "ip netns add"
// does with /run/netns (ip-netns(8)), lies below. svinota/pyroute2#640
func TestUnpinCannotLeaveAPinBelowAnotherMount(t *testing.T) {
	testenv.Need(t, testenv.Root)
	testenv.Leaks(t)
	for name, cover := range map[string]func(dir string) error{
		"shared": func(dir string) error {
			return errors.Join(unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""), unix.Mount("", dir, "", unix.MS_SHARED|unix.MS_REC, ""))
		},
		"private": func(dir string) error {
			return errors.Join(unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""), unix.Mount("", dir, "", unix.MS_PRIVATE|unix.MS_REC, ""))
		},
		"twice": func(dir string) error {
			return errors.Join(unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""), unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""))
		},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			dir := parent + "/netns"
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			before := tree(t, parent)
			t.Cleanup(func() {
				for unix.Unmount(dir+"/blue", unix.MNT_DETACH) == nil || unix.Unmount(dir, unix.MNT_DETACH) == nil {
				}
			})
			s := unshare(t, Net)
			if err := errors.Join(s.PinNS(Net, dir+"/blue"), s.PinNS(Net, dir+"/green"), cover(dir)); err != nil {
				t.Fatal(err)
			}
			other := unshare(t, Mount) // has a copy, and keeps the namespace as long as that is there
			if err := Unpin(dir + "/blue"); err != nil {
				t.Fatal(err)
			}
			for _, where := range []struct {
				name string
				run  func(func() error) error
			}{{"here", func(f func() error) error { return f() }}, {"elsewhere", func(f func() error) error { return other.Run(f) }}} {
				if err := where.run(func() error {
					if left := tree(t, parent); strings.Contains(left, "blue") || !strings.Contains(left, "mount at "+dir+"/green") {
						t.Errorf("%s:\n%s", where.name, left)
					}
					return nil
				}); err != nil {
					t.Fatal(err)
				}
			}
			if err := Unpin(dir + "/blue"); err != nil {
				t.Errorf("once more: %v", err)
			}
			if err := Unpin(dir + "/green"); err != nil {
				t.Fatal(err)
			}
			for unix.Unmount(dir, unix.MNT_DETACH) == nil {
			}
			if after := tree(t, parent); after != before {
				t.Errorf("left:\n%s", after)
			}
		})
	}
}
