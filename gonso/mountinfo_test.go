package gonso

import (
	"slices"
	"testing"
)

func TestParseMountinfo(t *testing.T) {
	const text = `25 1 254:1 / / rw,relatime - ext4 /dev/root rw
30 25 0:26 / /mnt/with\040space\134 rw shared:7 master:3 - tmpfs tmpfs rw
31 25 0:27 net:[4026532008] /run/netns/a-b rw master:3 propagate_from:2 - nsfs nsfs rw
32 25 0:28 / /odd\04 rw unbindable - tmpfs shared:9 rw

too short
x 25 0:28 / /x rw - tmpfs tmpfs rw
33 25 0:28 / /x rw no separator
`
	want := []mountLine{{25, "/", false, "ext4", "rw"}, {30, `/mnt/with space\`, true, "tmpfs", "rw"}, {31, "/run/netns/a-b", false, "nsfs", "rw"},
		{32, `/odd\04`, false, "tmpfs", "rw"}}
	if got := parseMountinfo(text); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}
