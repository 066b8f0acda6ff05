package gonso

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestTypeString(t *testing.T) {
	for typ, want := range map[Type]string{
		0: "0", Cgroup: "cgroup", IPC: "ipc", Mount: "mnt", Net: "net", PID: "pid", Time: "time", User: "user", UTS: "uts",
		Net | Mount:     "mnt|net",
		AllTypes:        "cgroup|ipc|mnt|net|pid|time|user|uts",
		1:               "0x1",
		Net | 0x100 | 2: "net|0x102",
	} {
		if got := typ.String(); got != want {
			t.Errorf("%#x: %q, want %q", uint32(typ), got, want)
		}
	}
}

func TestParseType(t *testing.T) {
	for s, want := range map[string]Type{
		"net": Net, "mnt": Mount, "mount": Mount, "mnt|net": Mount | Net, "net,mnt": Mount | Net, " net | uts ": Net | UTS,
		"net|net": Net, "net|": Net, "cgroup|ipc|mnt|net|pid|time|user|uts": AllTypes,
	} {
		if got, err := ParseType(s); err != nil || got != want {
			t.Errorf("%q: %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "|", ",", " ", "Net", "network", "net|blue", "0", "0x1", "net mnt", "pid_for_children"} {
		got, err := ParseType(s)
		if got != 0 || !errors.Is(err, os.ErrInvalid) {
			t.Errorf("%q: %v, %v, want an error matching os.ErrInvalid", s, got, err)
		} else if bad := strings.Trim(s[strings.LastIndex(s, "|")+1:], " "); !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: the error does not name it: %v", s, err)
		}
	}
}

func FuzzParseType(f *testing.F) {
	for _, s := range []string{"", "net", "mnt|net", "mount,uts", "net|0x1", " user ", "||", "pid\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		typ, err := ParseType(s)
		if err != nil {
			if typ != 0 {
				t.Errorf("%q: %v along with an error", s, typ)
			}
			return
		}
		if err := typ.check(); err != nil {
			t.Errorf("%q: accepted as %v: %v", s, typ, err)
		}
		if again, err := ParseType(typ.String()); err != nil || again != typ {
			t.Errorf("%q: %v is printed as %q, which is %v, %v", s, typ, typ.String(), again, err)
		}
	})
}

// Every combination of types survives printing and parsing.
func TestTypeRoundTrip(t *testing.T) {
	for bits := 1; bits < 1<<numTypes; bits++ {
		var typ Type
		for i := range typeTable {
			if bits&(1<<i) != 0 {
				typ |= typeTable[i].typ
			}
		}
		if got, err := ParseType(typ.String()); err != nil || got != typ {
			t.Fatalf("%#x: %v, %v", uint32(typ), got, err)
		}
	}
}

func TestTypeCheck(t *testing.T) {
	for typ, want := range map[Type]string{
		Net: "", AllTypes: "",
		0:                   "zero Type",
		1:                   "0x1",
		Net | 0x00000100:    "0x100", // CLONE_VM: a flag of clone(2), but no namespace
		Type(0xffffffff):    "unknown bits",
		User | Type(1<<31):  "0x80000000",
		Type(0x00000011):    "0x11", // SIGCHLD, as callers of clone(2) add it
		PID | Time | Cgroup: "",
	} {
		err := typ.check()
		switch {
		case want == "" && err != nil:
			t.Errorf("%v: %v", typ, err)
		case want != "" && (!errors.Is(err, os.ErrInvalid) || !strings.Contains(err.Error(), want)):
			t.Errorf("%#x: %v, want os.ErrInvalid and %q in it", uint32(typ), err, want)
		}
	}
}

// No argument means all types; a zero, which callers may have computed, never does.
func TestUnion(t *testing.T) {
	for _, c := range []struct {
		in   []Type
		want Type
		ok   bool
	}{
		{nil, AllTypes, true},
		{[]Type{}, AllTypes, true},
		{[]Type{Net}, Net, true},
		{[]Type{Net, UTS, Net}, Net | UTS, true},
		{[]Type{0}, 0, false},
		{[]Type{Net, 0}, 0, false},
		{[]Type{Net, 1}, 0, false},
	} {
		if got, err := union(c.in); got != c.want || (err == nil) != c.ok {
			t.Errorf("%v: %v, %v", c.in, got, err)
		}
	}
}

func TestTypeOrderIsAlphabetical(t *testing.T) {
	var names []string
	AllTypes.each(func(i int, single Type) {
		if single.index() != i || !single.single() {
			t.Errorf("%v at %d: index %d, single %v", single, i, single.index(), single.single())
		}
		names = append(names, single.String())
	})
	if len(names) != 8 || !slices.IsSorted(names) {
		t.Errorf("%q", names)
	}
	for _, typ := range []Type{0, Net | UTS, 1, AllTypes} {
		if typ.single() {
			t.Errorf("%v is said to be a single type", typ)
		}
	}
}
