package gonso

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

func TestOwner(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	outer := unshare(t, User|Net|UTS)
	inner := owned(t)(outer.Unshare(User | UTS))
	for what, c := range map[string]struct {
		s    *Set
		typ  Type
		want string
	}{
		"net of the outer": {outer, Net, idOf(t, outer, User)},
		"net of the inner": {inner, Net, idOf(t, outer, User)}, // it has the outer's
		"uts of the inner": {inner, UTS, idOf(t, inner, User)},
		"the inner":        {inner, User, idOf(t, outer, User)},
		"the outer":        {outer, User, testenv.Home("user")},
	} {
		o := owned(t)(c.s.Owner(c.typ))
		if o.Types() != User || idOf(t, o, User) != c.want || o.c.opened != 0 {
			t.Errorf("%s: %v, opened %v; want %s", what, o, o.c.opened, c.want)
		}
	}
	o := owned(t)(inner.Owner(UTS))
	if p := goIn(t, owned(t)(inner.With(o))); p.NS["uts"] != idOf(t, inner, UTS) {
		t.Errorf("work with the owner: %v", p.NS)
	}

	_, err := owned(t)(Current(User)).Owner(User)
	wantError(t, "at the top", err, unix.EPERM, "owner user", "not to be seen from here")
	_, err = outer.Owner(IPC)
	wantError(t, "not in the Set", err, errNotInSet, "ipc")
	_, err = outer.Owner(Net | UTS)
	wantError(t, "two", err, errOneType)
	_, err = outer.Owner(0)
	wantError(t, "zero", err, os.ErrInvalid)
	if testenv.Has(testenv.Root) {
		if o := owned(t)(unshare(t, Net).Owner(Net)); idOf(t, o, User) != testenv.Home("user") || o.c.foreign != 0 {
			t.Errorf("a net namespace of the host's: %v", o)
		}
	}
}

func TestParent(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	outer := unshare(t, User|Net)
	inner := owned(t)(outer.Unshare(User))
	up := owned(t)(inner.Parent(User))
	if up.Types() != User || idOf(t, up, User) != idOf(t, outer, User) {
		t.Errorf("%v, want %s", up, idOf(t, outer, User))
	}
	if top := owned(t)(up.Parent(User)); idOf(t, top, User) != testenv.Home("user") {
		t.Errorf("%v, want home", top)
	}
	cur := owned(t)(Current())
	for _, typ := range []Type{User, PID} {
		_, err := cur.Parent(typ)
		wantError(t, "at the top", err, unix.EPERM, "parent "+typ.String(), "no parent")
	}
	for _, typ := range []Type{Net, Mount, UTS, IPC, Cgroup, Time} {
		_, err := outer.Parent(typ)
		wantError(t, typ.String(), err, os.ErrInvalid, "only user and pid", typ.String())
	}
	_, err := outer.Parent(PID)
	wantError(t, "not in the Set", err, errNotInSet, "pid")
	_, err = outer.Parent(User | PID)
	wantError(t, "two", err, errOneType)
	_, err = outer.Parent(0)
	wantError(t, "zero", err, os.ErrInvalid)

	// The kernel knows no parents of others.
	ns := outer.c.ns[Net.index()]
	if _, err := ns.Parent(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("the kernel on the parent of a net namespace: %v; the rule is EINVAL", err)
	}
}

func TestParentOfPIDNamespace(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UtilLinux("unshare"), testenv.Tool("sleep"))
	outer := owned(t)(FromPID(sleeper(t, PID), PID))
	if up := owned(t)(outer.Parent(PID)); up.Types() != PID || idOf(t, up, PID) != testenv.Home("pid") {
		t.Errorf("%v, want home", up)
	}
	// unshare goes on outside and has its only child inside.
	c := exec.Command("unshare", "--pid", "--fork", "--kill-child", "unshare", "--pid", "--fork", "--kill-child", "sleep", "600")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	middle := onlyChild(t, c.Process.Pid, "unshare")
	sleep := onlyChild(t, middle, "sleep")
	defer func() {
		c.Process.Kill()
		c.Wait()
		for _, pid := range []int{middle, sleep} {
			testenv.Eventually(t, "the others end with it", func() bool { return unix.Kill(pid, 0) != nil })
		}
	}()
	mid, inner := owned(t)(FromPID(middle, PID)), owned(t)(FromPID(sleep, PID))
	if up := owned(t)(inner.Parent(PID)); idOf(t, up, PID) != idOf(t, mid, PID) || up.c.opened != PID {
		t.Errorf("%v, opened %v; want %v", up, up.c.opened, mid)
	}
}

// What belongs to somebody else's namespaces is somebody else's.
func TestRelativesOfOpenedAreOpened(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Tool("sleep"))
	s := owned(t)(FromPID(sleeper(t, User|Net), Net, UTS))
	o := owned(t)(s.Owner(Net))
	if o.c.opened != User {
		t.Errorf("the owner of an opened net namespace: opened %v", o.c.opened)
	}
	if h := owned(t)(o.Parent(User)); h.c.opened != 0 || h.c.foreign != 0 {
		t.Errorf("home: opened %v, foreign %v", h.c.opened, h.c.foreign)
	}
}

func TestOwnerUID(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	s := unshare(t, User|Net)
	if uid, err := s.OwnerUID(); err != nil || int(uid) != os.Geteuid() {
		t.Errorf("%d, %v; want %d", uid, err, os.Geteuid())
	}
	_, err := owned(t)(s.Without(User)).OwnerUID()
	wantError(t, "without user", err, errNotInSet, "owner uid user")

	// From inside, where ids are others.
	inner := owned(t)(s.Unshare(User))
	if uid, err := inner.OwnerUID(); err != nil || int(uid) != os.Geteuid() {
		t.Errorf("of the inner: %d, %v; want %d", uid, err, os.Geteuid())
	}
	for want, s := range map[uint32]*Set{
		0:     unshare(t, User),
		65534: unshare(t, User, NoIDMaps()), // the overflow id
	} {
		got, err := ownerInside.Do(context.Background(), s, struct{}{})
		if err != nil || got != want {
			t.Errorf("inside: %d, %v; want %d", got, err, want)
		}
	}

	t.Run("another user's", func(t *testing.T) {
		testenv.Need(t, testenv.Root, testenv.UtilLinux("unshare"))
		c := exec.Command("unshare", "--user", "sleep", "600")
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 12345, Gid: 12345}}
		if uid, err := owned(t)(FromPID(sleeps(t, c), User)).OwnerUID(); err != nil || uid != 12345 {
			t.Errorf("%d, %v", uid, err)
		}
	})
}

var ownerInside = Register("test.owner-inside", func(context.Context, struct{}) (uint32, error) {
	s, err := Current(User)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	return s.OwnerUID()
})

func TestSetIDMaps(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	want := func(what string, s *Set, u, g []IDMap) {
		t.Helper()
		gotU, gotG, err := s.IDMaps()
		if err != nil || !slices.Equal(gotU, u) || !slices.Equal(gotG, g) {
			t.Errorf("%s: %v, %v, %v; want %v, %v", what, gotU, gotG, err, u, g)
		}
	}
	own := func(id uint32) []IDMap { return []IDMap{{0, id, 1}} }

	s := unshare(t, User|Net)
	want("default", s, own(uid), own(gid))
	if n := countChildren(t); n != 0 {
		t.Errorf("%d processes are left", n)
	}
	nested := owned(t)(owned(t)(s.Unshare(User)).Unshare(User))
	want("two below, as seen from here", nested, own(uid), own(gid))
	want("without maps", unshare(t, User, NoIDMaps()), nil, nil)
	want("own id", unshare(t, User, IDMaps([]IDMap{{1234, uid, 1}}, []IDMap{{5678, gid, 1}})), []IDMap{{1234, uid, 1}}, []IDMap{{5678, gid, 1}})

	// Somebody else may be root in there, so the process that looks is not dumpable.
	opened := owned(t)(FromPID(sleeper(t, User), User))
	want("opened, without maps", opened, nil, nil)
	f, err := s.File(User)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want("opened", owned(t)(FromFiles(f)), own(uid), own(gid))

	home, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	u, _, err := owned(t)(Current(User)).IDMaps()
	if err != nil || strings.Join(strings.Fields(formatIDMaps(u)), " ") != strings.Join(strings.Fields(string(home)), " ") {
		t.Errorf("home: %v, %v; want %s", u, err, home)
	}
	_, _, err = owned(t)(s.Without(User)).IDMaps()
	wantError(t, "without user", err, errNotInSet, "id maps user")

	t.Run("ranges", func(t *testing.T) {
		testenv.Need(t, testenv.Root)
		maps := []IDMap{{0, 100000, 1000}, {1000, 300000, 10}}
		ranges := unshare(t, User, IDMaps(maps, []IDMap{{0, 200000, 2000}}))
		want("ranges", ranges, maps, []IDMap{{0, 200000, 2000}})
		want("nested ranges, as seen from here", owned(t)(ranges.Unshare(User, IDMaps([]IDMap{{0, 5, 3}}, []IDMap{{0, 7, 2}}))),
			[]IDMap{{0, 100005, 3}}, []IDMap{{0, 200007, 2}})
		var many []IDMap
		for i := range uint32(maxIDMapLines) {
			many = append(many, IDMap{2 * i, 1000 + 2*i, 1}) // what is written has to fit a page
		}
		want("as many lines as there can be", unshare(t, User, IDMaps(many, many)), many, many)
	})
}

// Who may not enter may not look, and is told so.
func TestLookingAtAnothersUserNamespace(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	dir := t.TempDir()
	pinned(t, unshare(t, User|Net), dir+"/pinned")
	s := unshare(t, User)
	got, err := lookAtOthers.Do(context.Background(), s, dir+"/pinned")
	if err != nil {
		t.Fatal(err)
	}
	for i, words := range [][]string{
		{"owner net", "not permitted", "not to be seen from here"},
		{"parent user", "not permitted", "not to be seen from here"},
		{"setns user", "not permitted", "true"},
		{"0"}, // its own user, by whom it was made all the same
	} {
		for _, w := range words {
			if !strings.Contains(got[i], w) {
				t.Errorf("%s; want %q in it", got[i], w)
			}
		}
	}
}

var lookAtOthers = Register("test.look-at-others", func(_ context.Context, dir string) ([]string, error) {
	s, err := FromDir(dir)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	_, ownerErr := s.Owner(Net)
	_, parentErr := s.Parent(User)
	_, _, mapsErr := s.IDMaps()
	uid, err := s.OwnerUID()
	return []string{fmt.Sprint(ownerErr), fmt.Sprint(parentErr), fmt.Sprint(mapsErr, errors.Is(mapsErr, unix.EPERM)), fmt.Sprint(uid)}, err
})

func TestParseIDMaps(t *testing.T) {
	line := "         0     100000      65536\n"
	for text, want := range map[string]struct {
		maps []IDMap
		say  string
	}{
		"":                                    {nil, ""},
		line:                                  {[]IDMap{{0, 100000, 65536}}, ""},
		"0 0 4294967295\n5 4294967295 1":      {[]IDMap{{0, 0, math.MaxUint32}, {5, math.MaxUint32, 1}}, ""},
		"0 0\n":                               {nil, "line 0"},
		"0 0 1\n0 0 1 1\n":                    {nil, "line 1"},
		"\n":                                  {nil, "three numbers"},
		"0 0 4294967296\n":                    {nil, "out of range"},
		"0 -1 1\n":                            {nil, "invalid syntax"},
		strings.Repeat(line, maxIDMapLines+1): {nil, "more than the kernel has"},
	} {
		got, err := parseIDMaps(text)
		if !slices.Equal(got, want.maps) || (err != nil) != (want.say != "") || err != nil && !strings.Contains(err.Error(), want.say) {
			t.Errorf("%.80q: %v, %v", text, got, err)
		}
	}
}

// Files of /proc may be somebody else's, in a mnt namespace.
func FuzzParseIDMaps(f *testing.F) {
	f.Add("         0     100000      65536\n      1000          0          1\n")
	f.Add("0 0 4294967295")
	f.Add("0 0\n")
	f.Fuzz(func(t *testing.T, text string) {
		maps, err := parseIDMaps(text)
		if err != nil {
			if maps != nil {
				t.Errorf("%v besides %v", maps, err)
			}
			return
		}
		if len(maps) > maxIDMapLines {
			t.Errorf("%d lines", len(maps))
		}
		again, err := parseIDMaps(formatIDMaps(maps))
		if err != nil || !slices.Equal(again, maps) {
			t.Errorf("%v, %v; want %v", again, err, maps)
		}
	})
}
