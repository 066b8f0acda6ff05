package gonso

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestPlanPin(t *testing.T) {
	spots := func(kinds map[Type]spotKind) (ps []pinSpot) {
		for i := range typeTable {
			if k, ok := kinds[typeTable[i].typ]; ok {
				ps = append(ps, pinSpot{typ: typeTable[i].typ, path: "/d/" + typeTable[i].name, kind: k})
			}
		}
		return ps
	}
	for name, c := range map[string]struct {
		dirMissing bool
		kinds      map[Type]spotKind
		want       string
		refused    string // in the error
	}{
		"nothing":              {false, nil, "", ""},
		"new directory":        {true, map[Type]spotKind{Net: spotMissing, UTS: spotMissing}, "dir net+ uts+ net uts", ""},
		"files that are there": {false, map[Type]spotKind{Net: spotEmpty, UTS: spotMissing}, "uts+ net uts", ""},
		"mnt is mounted first": {false, map[Type]spotKind{Cgroup: spotMissing, Mount: spotMissing, UTS: spotEmpty}, "cgroup+ mnt+ mnt cgroup uts", ""},
		"pinned":               {false, map[Type]spotKind{IPC: spotMissing, Net: spotPinned}, "", "pin net /d/net: what is there is a pinned namespace: file already exists (gonso.Unpin"},
		"filled":               {false, map[Type]spotKind{Net: spotFilled}, "", "not empty"},
		"directory":            {false, map[Type]spotKind{Net: spotEmpty, UTS: spotDirectory}, "", "pin uts /d/uts: what is there is a directory"},
		"symlink":              {false, map[Type]spotKind{Net: spotSymlink}, "", "symbolic link"},
		"special":              {false, map[Type]spotKind{Net: spotOther}, "", "special"},
	} {
		ps := spots(c.kinds)
		steps, err := planPin(c.dirMissing, ps)
		var got []string
		for _, s := range steps {
			switch s.act {
			case makeDir:
				got = append(got, "dir")
			case makeFile:
				got = append(got, ps[s.spot].typ.String()+"+")
			case attach:
				got = append(got, ps[s.spot].typ.String())
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if c.refused == "" && err != nil || c.refused != "" && (!errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), c.refused)) {
			t.Errorf("%s: %v, want %q", name, err, c.refused)
		}
	}
}

// Whatever is there, everything is attached once, after it was made, and undoing
// goes the way back: a file is never removed under a mount.
func TestPlanPinForEveryPlace(t *testing.T) {
	for code := range 1 << numTypes {
		var ps []pinSpot
		for i := range typeTable {
			ps = append(ps, pinSpot{typ: typeTable[i].typ, kind: spotKind(code >> i & 1)}) // missing or empty
		}
		steps, err := planPin(code == 0, ps)
		if err != nil {
			t.Fatal(err)
		}
		for i := range ps {
			at := slices.Index(steps, pinStep{attach, i})
			made := slices.Index(steps, pinStep{makeFile, i})
			if at < 0 || (made >= 0) != (ps[i].kind == spotMissing) || made > at {
				t.Fatalf("%08b: %v made at %d, attached at %d", code, ps[i].typ, made, at)
			}
		}
		if dir := slices.IndexFunc(steps, func(s pinStep) bool { return s.act == makeDir }); code == 0 && dir != 0 || code != 0 && dir >= 0 {
			t.Fatalf("%08b: the directory is made at %d", code, dir)
		}
	}
}

func TestPinHint(t *testing.T) {
	const possibly = "possibly "
	shared := mountLine{id: 1, point: "/run", shared: true}
	for name, c := range map[string]struct {
		typ  Type
		err  error
		ev   pinEvidence
		want string // "" means no hint
	}{
		"no evidence":                  {Net, syscall.EPERM, pinEvidence{}, ""},
		"no capability is a fact":      {Net, syscall.EPERM, pinEvidence{evidence: evidence{capsKnown: true}}, "it needs CAP_SYS_ADMIN in the user namespace that owns the mount namespace of this thread"},
		"with the capability":          {Net, syscall.EPERM, pinEvidence{evidence: evidence{capsKnown: true, caps: 1 << capSysAdmin}}, possibly + "the mount namespace of this thread belongs to a user namespace above this process's own"},
		"seccomp":                      {Net, syscall.EPERM, pinEvidence{evidence: evidence{seccomp: true}}, possibly + seccompIsActive},
		"newer":                        {Mount, syscall.ELOOP, pinEvidence{}, "a mnt namespace can be pinned only in an older one, and the thread that pins is in this one, or in a newer one; Set.Without leaves it out"},
		"ELOOP of another type":        {Net, syscall.ELOOP, pinEvidence{}, ""},
		"shared":                       {Mount, syscall.EINVAL, pinEvidence{mount: shared, dir: "/run/ns"}, "mnt namespaces cannot be pinned on a mount that is shared with others, as that at /run is; make a private one: mount --bind /run/ns /run/ns && mount --make-private /run/ns"},
		"private":                      {Mount, syscall.EINVAL, pinEvidence{mount: mountLine{point: "/run"}, dir: "/run/ns"}, ""},
		"shared, but another type":     {Net, syscall.EINVAL, pinEvidence{mount: shared}, ""},
		"unmounting a mount of others": {0, syscall.EINVAL, pinEvidence{}, possibly + "it was pinned in another mount namespace, and this one has it from there"},
		"too many mounts":              {Net, syscall.ENOSPC, pinEvidence{}, possibly + "the sysctl fs.mount-max is reached"},
		"another error":                {Net, syscall.EIO, pinEvidence{evidence: evidence{capsKnown: true, seccomp: true}}, ""},
	} {
		if got := pinHint(c.typ, fmt.Errorf("x: %w", c.err), &c.ev); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
