package reexec

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

func TestComposeMember(t *testing.T) {
	const stays = `
		write(status, reached, record) = record
		read(control, scratch, 1) = 1
`
	outer, inner := Join{Type: unix.CLONE_NEWUSER}, Join{Type: unix.CLONE_NEWUSER}
	for name, tt := range map[string]struct {
		joins          []Join
		protect, plain bool
		want           string
	}{
		"root": {[]Join{outer}, false, false, triesNewKeyring + `
			setns(6, CLONE_NEWUSER) = 0` + stays},
		"nested": {[]Join{outer, inner}, false, false, triesNewKeyring + `
			setns(6, CLONE_NEWUSER) = 0
			setns(7, CLONE_NEWUSER) = 0` + stays},
		"plain user": {[]Join{outer}, false, true, triesNewKeyring + `
			setns(6, CLONE_NEWUSER) = 0
			prctl(PR_SET_DUMPABLE, 1) = 0` + stays},
		"protected, plain user": {[]Join{outer}, true, true, hides + "\n\t\tsetsid() >= 0" + dropsCaps + `
			setns(6, CLONE_NEWUSER) = 0` + stays},
	} {
		t.Run(name, func(t *testing.T) {
			compare(t, composeMember(tt.joins, tt.protect, tt.plain, own{}), strings.ReplaceAll(closesFirst(6+len(tt.joins))+tt.want, "\n\n", "\n"))
		})
	}
}

func TestIDMapsOfNamespaceWithoutMembers(t *testing.T) {
	needUserNS(t)
	fs, err := create(t.Context(), ownUser())
	if err != nil {
		t.Fatal(err)
	}
	defer sys.CloseFiles(fs)
	join := []Join{{Type: unix.CLONE_NEWUSER, File: fs[0]}}
	for _, protect := range []bool{false, true} {
		ns, err := LookAtUserNS(t.Context(), join, protect)
		u, g := fmt.Sprintf("0 %d 1", os.Geteuid()), fmt.Sprintf("0 %d 1", os.Getegid())
		if err != nil || strings.Join(strings.Fields(ns.UIDMap), " ") != u || strings.Join(strings.Fields(ns.GIDMap), " ") != g ||
			ns.SetgroupsDenied != ownUser().DenySetgroups {
			t.Errorf("protect %v: %+v, %v; want %q, %q", protect, ns, err, u, g)
		}
	}

	uts, err := os.Open("/proc/self/ns/uts")
	if err != nil {
		t.Fatal(err)
	}
	defer uts.Close()
	_, err = LookAtUserNS(t.Context(), []Join{{Type: unix.CLONE_NEWUSER, File: uts}}, false)
	var le *LaunchError
	if !errors.As(err, &le) || le.Op != "setns" || le.Type != unix.CLONE_NEWUSER || !errors.Is(err, unix.EINVAL) {
		t.Errorf("of a uts namespace: %v", err)
	}
}
