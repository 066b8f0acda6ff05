package gonso

import (
	"context"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// ownAt maps the ids of this process to one inside, and nothing else.
func ownAt(id uint32) UnshareOption {
	return IDMaps([]IDMap{{id, uint32(os.Geteuid()), 1}}, []IDMap{{id, uint32(os.Getegid()), 1}})
}

// capSets are the sets of capabilities in a status file of procfs, but for the bounding set.
var capSets = []string{"CapInh", "CapPrm", "CapEff", "CapAmb"}

// Credential takes all capabilities with the ids, whether or not id 0 is mapped
// (containers/podman#9919; CVE-2022-24769 for the inheritable set).
func TestCommandWithOtherIDsCannotKeepCapabilities(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("cat"))
	testenv.Leaks(t)
	const id = 1000
	without0 := unshare(t, User|Mount|Net, ownAt(id))
	cases := map[string]struct {
		s      *Set
		change func(*Cmd)
		amb    string // the ambient capabilities, and all others then
	}{
		"id 0 not mapped": {without0, func(c *Cmd) {}, ""},
		"ids kept":        {without0, func(c *Cmd) { c.KeepIDs = true }, ""},
		"a program by descriptor": {without0, func(c *Cmd) {
			path, err := testenv.LookPath("cat")
			if err != nil {
				t.Fatal(err)
			}
			if c.Exe, err = os.Open(path); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Exe.Close() })
		}, ""},
		"in a nested namespace": {owned(t)(unshare(t, User|Mount).Unshare(User, IDMaps([]IDMap{{id, 0, 1}}, []IDMap{{id, 0, 1}}))),
			func(c *Cmd) {}, ""},
		"with ambient ones": {without0, func(c *Cmd) { c.AmbientCaps = []uintptr{unix.CAP_NET_RAW} }, "0000000000002000"},
	}
	if testenv.Has(testenv.Root) {
		cases["id 0 mapped"] = struct {
			s      *Set
			change func(*Cmd)
			amb    string
		}{unshare(t, User, IDMaps([]IDMap{{0, 0, 2000}}, []IDMap{{0, 0, 2000}})), func(c *Cmd) {}, ""}
		cases["no user namespace"] = struct {
			s      *Set
			change func(*Cmd)
			amb    string
		}{unshare(t, Net), func(c *Cmd) {}, ""}
	}
	for name, tt := range cases {
		c := tt.s.Command(context.Background(), "cat", "/proc/self/status")
		c.Credential = &Credential{UID: id, GID: id, NoSetGroups: true}
		tt.change(c)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", name, err, out)
			continue
		}
		want := tt.amb
		if want == "" {
			want = "0000000000000000"
		}
		status := fields(string(out))
		for _, set := range capSets {
			if status[set] != want {
				t.Errorf("%s: %s %s, want %s", name, set, status[set], want)
			}
		}
		if got := strings.Fields(status["Uid"]); len(got) != 4 || got[0] != got[2] || got[1] != got[3] {
			t.Errorf("%s: uids %v", name, got)
		}
	}
}

// What is looked up on the way to the program is looked up with its ids, not with the launcher's capabilities,
// as os/exec does.
func TestCommandWithOtherIDsCannotEnterForeignDirectories(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("true"))
	testenv.Leaks(t)
	dir := t.TempDir()
	s := unshare(t, User|Mount, ownAt(1000))
	if err := os.Chmod(dir, 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	for name, caps := range map[string][]uintptr{"no capabilities": nil, "ambient capabilities": {unix.CAP_NET_RAW}} {
		c := s.Command(context.Background(), "true")
		c.Credential, c.AmbientCaps = &Credential{UID: 1000, GID: 1000, NoSetGroups: true}, caps
		c.Dir = dir
		wantError(t, name, c.Run(), unix.EACCES, dir)
	}
}
