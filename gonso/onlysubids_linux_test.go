package gonso

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

var uidInside = Register("test.uidInside", func(_ context.Context, path string) (uint32, error) {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	return st.Uid, err
})

// wantNobodyHere fails if something inside is the caller outside.
func wantNobodyHere(t *testing.T, s *Set) {
	t.Helper()
	uid, gid, err := s.IDMaps()
	if err != nil {
		t.Fatal(err)
	}
	for _, maps := range [][]IDMap{uid, gid} {
		if maps[0].ContainerID != 0 {
			t.Errorf("there is no root inside: %v", maps)
		}
	}
	for _, m := range uid {
		if me := uint32(os.Geteuid()); me >= m.HostID && me-m.HostID < m.Size {
			t.Errorf("%d is in %v", me, m)
		}
	}
	// The worker is root inside, and who that is outside.
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/task", goIn(t, s).PID), &st); err != nil || st.Uid != uid[0].HostID && st.Uid != 0 {
		t.Errorf("the worker is %d, %v", st.Uid, err)
	}
	file := t.TempDir()
	if owner, err := uidInside.Do(t.Context(), s, file); err == nil && owner != 65534 {
		t.Errorf("a file of the caller belongs to %d inside", owner)
	}
}

func TestOnlySubIDs(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	if os.Geteuid() != 0 {
		needTools(t)
		wantNobodyHere(t, unshare(t, User|Mount, OnlySubIDs()))
		return
	}
	testenv.Need(t, testenv.Host)
	subIDsIn(t, "root:200000:10\nroot:300000:5\n", "0:400000:7\n")
	s := unshare(t, User|Mount, OnlySubIDs())
	uid, gid, err := s.IDMaps()
	if err != nil || !slices.Equal(uid, []IDMap{{0, 200000, 10}, {10, 300000, 5}}) || !slices.Equal(gid, []IDMap{{0, 400000, 7}}) {
		t.Errorf("%v, %v, %v", uid, gid, err)
	}
	wantNobodyHere(t, s)

	subIDsIn(t, "", "")
	_, err = Unshare(User, OnlySubIDs())
	wantError(t, "no ranges", err, ErrNoSubIDs, "OnlySubIDs needs one in /etc/subuid")
	if errors.Is(err, os.ErrInvalid) {
		t.Error(err)
	}
}
