package gonso

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// A plain user's own maps are what the kernel has in the end, as podman's keep-id writes them.
func TestPlainUserMapsWhatItHas(t *testing.T) {
	needTools(t)
	testenv.Leaks(t)
	_, first := ownMaps(t)
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	u, g := uint32(first[0]), uint32(first[1])
	keep := func(own, sub uint32) []IDMap { // podman run --userns=keep-id
		return []IDMap{{0, sub, 1000}, {1000, own, 1}, {1001, sub + 1000, 1000}}
	}
	for name, c := range map[string]struct {
		types     Type
		uid, gid  []IDMap
		opts      []UnshareOption
		setgroups string
	}{
		"keep-id":             {User | Mount, keep(uid, u), keep(gid, g), nil, "allow"},
		"without its own":     {User, []IDMap{{0, u, 10}}, []IDMap{{0, g, 10}}, nil, "allow"},
		"setgroups denied":    {User, keep(uid, u), keep(gid, g), []UnshareOption{Setgroups(false)}, "deny"},
		"setgroups allowed":   {User | Net, keep(uid, u), keep(gid, g), []UnshareOption{Setgroups(true), LoopbackUp()}, "allow"},
		"uids alone":          {User | Mount | UTS, keep(uid, u), []IDMap{{0, gid, 1}}, nil, "deny"},
		"gids alone":          {User, []IDMap{{0, uid, 1}}, keep(gid, g), nil, "allow"},
		"part of a range":     {User, []IDMap{{5, u + 77, 3}, {0, uid, 1}}, []IDMap{{9, gid, 1}, {0, g + 1, 2}}, nil, "allow"},
		"its own id, no tool": {User, []IDMap{{7, uid, 1}}, []IDMap{{8, gid, 1}}, nil, "deny"},
	} {
		t.Run(name, func(t *testing.T) {
			s := unshare(t, c.types, append(c.opts, IDMaps(c.uid, c.gid))...)
			p := goIn(t, s)
			for i, file := range []string{"uid_map", "gid_map"} {
				want := strings.Join(strings.Fields(formatIDMaps([2][]IDMap{c.uid, c.gid}[i])), " ")
				if got := procFile(t, p.PID, file); got != want {
					t.Errorf("%s from outside is %q, want %q", file, got, want)
				}
			}
			if p.Setgroups != c.setgroups {
				t.Errorf("setgroups %q, want %q", p.Setgroups, c.setgroups)
			}
		})
	}
}

// What newuidmap would refuse without a word about which map is refused before anything is made.
func TestMapsOfOthersAreRefusedByName(t *testing.T) {
	needTools(t)
	testenv.Leaks(t)
	uid, gid := uint32(os.Getuid()), uint32(os.Getgid())
	_, first := ownMaps(t)
	u, g := uint32(first[0]), uint32(first[1])
	children := countChildren(t)
	for name, c := range map[string]struct {
		uid, gid []IDMap
		words    []string
	}{
		"root of outside": {[]IDMap{{0, 0, 1}, {1, u, 5}}, []IDMap{{0, gid, 1}}, []string{"IDMaps: uid map, line 0 (0 0 1): uid 0 is neither", "/etc/subuid"}},
		"the second line": {[]IDMap{{0, uid, 1}, {1, u, 5}}, []IDMap{{0, gid, 1}, {1, 5, 3}}, []string{"IDMaps: gid map, line 1 (1 5 3): gids 5-7 are neither", "/etc/subgid"}},
		"past the end": {[]IDMap{{0, u, 1 << 30}}, []IDMap{{0, g, 1}}, []string{fmt.Sprintf("uid map, line 0 (0 %d %d)", u, 1<<30), "are neither in the ranges of user",
			fmt.Sprintf("nor its own uid, %d", uid), "usermod --add-subuids"}},
	} {
		_, err := Unshare(User, IDMaps(c.uid, c.gid))
		wantError(t, name, err, os.ErrPermission, append(c.words, "unshare user: IDMaps: ")...)
	}
	subIDsIn(t, fmt.Sprintf("%d:7000:10\n", uid), "")
	_, err := Unshare(User, IDMaps([]IDMap{{0, 7000, 10}}, []IDMap{{0, 7000, 10}}))
	wantError(t, "no range", err, ErrNoSubIDs, "IDMaps: gid map, line 0 (0 7000 10): gids 7000-7009", "it has none there")
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("%v; want os.ErrPermission too", err)
	}
	if n := countChildren(t); n != children {
		t.Errorf("%d child processes more", n-children)
	}
	toolsIn(t, nil)
	_, err = Unshare(User, IDMaps([]IDMap{{0, u, 10}}, []IDMap{{0, gid, 1}}))
	wantError(t, "without the package", err, exec.ErrNotFound, "newuidmap", "IDMaps needs it", "uidmap")
}

// Of the two programs the one is run whose map takes it, and by who lacks just that capability.
func TestMapsAreWrittenByWhoMay(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	subIDsIn(t, "root:5000:10\nroot:5010:10\n", "root:6000:10\n")
	dir := setuidTools(t, map[string]string{
		"newuidmap": `echo "$0 $*" >>"${0%/*}/ran"; pid=$1; shift; printf '%s %s %s\n' "$@" > /proc/$pid/uid_map`,
		"newgidmap": `echo "$0 $*" >>"${0%/*}/ran"; exit 5`,
	})
	var s *Set
	var err error
	onThreadWithout(t, func() {
		s, err = Unshare(User, IDMaps([]IDMap{{0, 5005, 12}}, []IDMap{{0, 0, 1}, {1, 70000, 5}}))
	}, unix.CAP_SETUID)
	p := goIn(t, owned(t)(s, err))
	if got := procFile(t, p.PID, "uid_map"); got != "0 5005 12" {
		t.Errorf("uid_map %q", got)
	}
	if b, err := os.ReadFile(dir + "/ran"); err != nil || strings.Count(string(b), "\n") != 1 || !strings.HasSuffix(string(b), " 0 5005 12\n") {
		t.Errorf("%q, %v", b, err)
	}
}

func TestToolLinesAreWithinTheRanges(t *testing.T) {
	ranges := []subIDRange{{1001, 9}, {1010, 10}, {5000, 5}}
	for name, c := range map[string]struct {
		maps, want []IDMap
		left       string
	}{
		"as it is":             {maps: []IDMap{{0, 1001, 9}, {9, 5000, 5}}, want: []IDMap{{0, 1001, 9}, {9, 5000, 5}}},
		"two ranges in a line": {maps: []IDMap{{0, 1005, 10}}, want: []IDMap{{0, 1005, 10}}},
		"its own":              {maps: []IDMap{{3, 1000, 1}}, want: []IDMap{{3, 1000, 1}}},
		"its own and more":     {maps: []IDMap{{3, 1000, 5}}, want: []IDMap{{3, 1000, 1}, {4, 1001, 4}}},
		"below":                {maps: []IDMap{{0, 1000, 1}, {1, 999, 1}}, left: "line 1: [{999 1}]"},
		"a gap":                {maps: []IDMap{{0, 1015, 10}}, left: "line 0: [{1020 5}]"},
		"both ends":            {maps: []IDMap{{0, 4998, 10}}, left: "line 0: [{4998 2} {5005 3}]"},
		"all":                  {maps: []IDMap{{0, 0, 1<<32 - 1}}, left: "line 0: [{0 1000} {1020 3980} {5005 4294962290}]"},
	} {
		lines, at, left := toolLines(c.maps, 1000, ranges)
		got := ""
		if len(left) > 0 {
			got = fmt.Sprintf("line %d: %v", at, left)
		}
		if got != c.left || fmt.Sprint(lines) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, %q; want %v, %q", name, lines, got, c.want, c.left)
		}
	}
}

func TestSysIDMapsAreConvertedOrRefused(t *testing.T) {
	got, err := SysIDMaps([]syscall.SysProcIDMap{{ContainerID: 0, HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}})
	if want := []IDMap{{0, 1000, 1}, {1, 100000, 65536}}; err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v", got, err)
	}
	bad := []syscall.SysProcIDMap{{Size: 1}, {HostID: -1, Size: 1}}
	_, err = SysIDMaps(bad)
	wantError(t, "no id", err, os.ErrInvalid, "line 1 (")
}
