package gonso

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// nsOwner is what the kernel says of the owner of a user namespace.
func nsOwner(t testing.TB, s *Set) uint32 {
	t.Helper()
	f, err := s.File(User)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	uid, err := unix.IoctlGetUint32(int(f.Fd()), unix.NS_GET_OWNER_UID)
	if err != nil {
		t.Fatal(err)
	}
	return uid
}

// The owner is the one that was asked for, whatever else is made along with the user namespace, and
// owns that with it.
func TestOwnerUIDIsTheOwner(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	const owner = 4321
	maps := []IDMap{{0, 70000, 100}, {1000, owner, 1}}
	subIDsIn(t, "root:100000:65536\n0:200000:10\n", "root:300000:65536\n")
	for name, c := range map[string]struct {
		types Type
		opts  []UnshareOption
	}{
		"alone":     {User, nil},
		"IDMaps":    {User | Net | Mount | UTS | IPC | Cgroup, []UnshareOption{IDMaps(maps, maps), LoopbackUp()}},
		"NoIDMaps":  {User | Net, []UnshareOption{NoIDMaps()}},
		"SubIDs":    {User | Mount, []UnshareOption{SubIDs()}},
		"setgroups": {User, []UnshareOption{Setgroups(false)}},
		"pid":       {User | PID | Mount, []UnshareOption{IDMaps(maps, maps), MountProc()}},
		"time":      {User | Time, []UnshareOption{ClockOffsets(0, 1e9)}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.types&Time != 0 {
				testenv.Need(t, testenv.TimeNS)
			}
			s, err := Unshare(c.types, append(c.opts, OwnerUID(owner))...)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if uid, err := s.OwnerUID(); uid != owner || err != nil {
				t.Errorf("Set.OwnerUID: %d, %v", uid, err)
			}
			if uid := nsOwner(t, s); uid != owner {
				t.Errorf("NS_GET_OWNER_UID: %d", uid)
			}
			for _, typ := range singles(c.types &^ User) {
				o, err := s.Owner(typ)
				if err != nil {
					t.Fatal(err)
				}
				if a, b := idOf(t, o, User), idOf(t, s, User); a != b {
					t.Errorf("%v is owned by %v, want %v", typ, a, b)
				}
				o.Close()
			}
			if name == "NoIDMaps" {
				return
			}
			if p := goIn(t, s); p.UID != 0 {
				t.Errorf("uid %d inside", p.UID)
			}
		})
	}
}

// Inside a Set with a user namespace the helper has the privilege, and the id is one of those there.
func TestOwnerUIDInsideIsOneOfThose(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	own := uint32(os.Geteuid())
	outer := unshare(t, User)
	s, err := outer.Unshare(User|Net, OwnerUID(0))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := nsOwner(t, s); got != own {
		t.Errorf("owner %d, want %d, which is 0 inside", got, own)
	}
	_, err = outer.Unshare(User, OwnerUID(7))
	wantError(t, "an id that is not mapped", err, unix.EINVAL, "OwnerUID", "uid 7 is not mapped in the Set's user namespace")

	if !testenv.Has(testenv.Root) {
		return
	}
	maps := []IDMap{{0, 70000, 1000}}
	wide := unshare(t, User, IDMaps(maps, maps))
	in, err := wide.Unshare(User|UTS, OwnerUID(7), IDMaps([]IDMap{{0, 5, 3}}, []IDMap{{0, 5, 3}}))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if got := nsOwner(t, in); got != 70007 {
		t.Errorf("owner %d, want 70007", got)
	}
}

// Who lacks the privilege is told which one, before anything is made; one's own id takes none.
func TestOwnerUIDWithoutPrivilegeIsRefused(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	s := unshare(t, User|Net, OwnerUID(uint32(os.Geteuid())))
	if got := nsOwner(t, s); got != uint32(os.Geteuid()) {
		t.Errorf("owner %d", got)
	}
	for name, types := range map[string]Type{"no user": Net, "nothing but mnt": Mount} {
		_, err := Unshare(types, OwnerUID(1))
		wantError(t, name, err, os.ErrInvalid, "OwnerUID needs user among the types")
	}
	_, err := Unshare(User, OwnerUID(1<<32-1))
	wantError(t, "-1", err, os.ErrInvalid, "OwnerUID: 4294967295")
	if testenv.Has(testenv.Root) {
		_, err := withoutSetID(t, User, OwnerUID(4321))
		wantError(t, "without capabilities", err, os.ErrPermission, "OwnerUID: ", "CAP_SETUID")
		return
	}
	children := countChildren(t)
	_, err = Unshare(User, OwnerUID(0))
	wantError(t, "plain", err, os.ErrPermission, "unshare user: OwnerUID: ", "lacks CAP_SETUID")
	if n := countChildren(t); n != children {
		t.Errorf("%d child processes more", n-children)
	}
}

// A plain user's Set with several ids: the owner inside is one of them.
func TestOwnerUIDOfSubordinateIDs(t *testing.T) {
	needTools(t)
	testenv.Leaks(t)
	outer := unshare(t, User, SubIDs())
	uids, _, err := outer.IDMaps()
	if err != nil {
		t.Fatal(err)
	}
	s, err := outer.Unshare(User|Net|PID|Mount, OwnerUID(7))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var want uint32
	for _, m := range uids {
		if m.ContainerID <= 7 && 7-m.ContainerID < m.Size {
			want = m.HostID + 7 - m.ContainerID
		}
	}
	f, err := s.File(User)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// This process's user namespace maps it.
	if got := nsOwner(t, s); got != want {
		t.Errorf("owner %d, want %d", got, want)
	}
}

// Each capability that is needed is named, and none is asked for that is not.
func TestOwnerUIDNamesTheCapability(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	subIDsIn(t, "root:100000:10\n", "root:100000:10\n")
	for name, c := range map[string]struct {
		without uint
		opts    []UnshareOption
	}{
		"CAP_SETUID":    {unix.CAP_SETUID, []UnshareOption{NoIDMaps()}},
		"CAP_SYS_ADMIN": {unix.CAP_SYS_ADMIN, nil},
		"CAP_SETGID":    {unix.CAP_SETGID, []UnshareOption{SubIDs()}},
	} {
		onThreadWithout(t, func() {
			_, err := Unshare(User, append(c.opts, OwnerUID(7))...)
			wantError(t, name, err, os.ErrPermission, "unshare user: OwnerUID: ", "lacks "+name)
		}, c.without)
	}
	var s *Set
	var err error
	onThreadWithout(t, func() { s, err = Unshare(User, OwnerUID(7), NoIDMaps()) }, unix.CAP_SYS_ADMIN, unix.CAP_SETGID)
	if got := nsOwner(t, owned(t)(s, err)); got != 7 {
		t.Errorf("owner %d", got)
	}
}
