package gonso

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

// The longest maps that the kernel takes are written and read back; a line more,
// or a byte too many, is refused before anything is made.
func TestLongestIDMaps(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	lines := func(n int) (maps []IDMap) {
		for i := range uint32(n) {
			maps = append(maps, IDMap{i, 1000 + 2*i, 1})
		}
		return maps
	}
	longest := lines(maxIDMapLines)
	s := unshare(t, User, IDMaps(longest, longest))
	p := goIn(t, s)
	want := strings.Join(strings.Fields(formatIDMaps(longest)), " ")
	for _, file := range []string{"uid_map", "gid_map"} {
		if got := procFile(t, p.PID, file); got != want {
			t.Errorf("%s from outside is %q, want %q", file, got, want)
		}
	}
	if p.UIDMap != want || p.GIDMap != want {
		t.Errorf("from inside %q, %q", p.UIDMap, p.GIDMap)
	}

	wide := []IDMap{}
	for i := range uint32(os.Getpagesize() / 20) {
		wide = append(wide, IDMap{4000000000 + i, 4100000000 + 2*i, 1})
	}
	words := fmt.Sprintf("page of %d bytes", os.Getpagesize())
	if len(wide) > maxIDMapLines {
		wide, words = wide[:maxIDMapLines+1], "more than the kernel's 340"
	}
	for what, c := range map[string]struct {
		maps []IDMap
		word string
	}{
		"341 lines":      {lines(maxIDMapLines + 1), "more than the kernel's 340"},
		"too many bytes": {wide, words},
	} {
		children := countChildren(t)
		_, err := Unshare(User, IDMaps(longest, c.maps))
		wantError(t, what, err, os.ErrInvalid, "unshare user: IDMaps: gid map", c.word)
		if n := countChildren(t); n != children {
			t.Errorf("%s: %d child processes more", what, n-children)
		}
	}
}
