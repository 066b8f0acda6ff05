package gonso

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestParseSubIDs(t *testing.T) {
	for name, c := range map[string]struct {
		content string
		ranges  []subIDRange
		ignored int
		bad     string // in the error
	}{
		"nothing":                     {content: ""},
		"by name":                     {content: "anna:100000:65536\n", ranges: []subIDRange{{100000, 65536}}},
		"by number":                   {content: "1001:100000:65536\n", ranges: []subIDRange{{100000, 65536}}},
		"no newline at the end":       {content: "anna:1:2", ranges: []subIDRange{{1, 2}}},
		"several, in their order":     {content: "anna:500:1\nbob:600:1\nanna:400:2\n1001:300:3\n", ranges: []subIDRange{{500, 1}, {400, 2}, {300, 3}}},
		"others":                      {content: "ann:1:1\nannax:2:2\n100:3:3\n10011:4:4\n"},
		"what shadow ignores":         {content: "\n#\nanna\n:1:1\nanna:1\nanna:x:1\nanna:1:\nanna:-1:1\nanna: 1:1\nanna:1:1_0\nanna:7:7\r\n", ignored: 3},
		"others' rubbish":             {content: "bob:x\nanna:1:1\nbob:99999999999999999999:1", ranges: []subIDRange{{1, 1}}},
		"more fields":                 {content: "anna:1:2:3:4\n", ranges: []subIDRange{{1, 2}}},
		"no ids":                      {content: "anna:1:0\n", ignored: 1},
		"strtoul with base 0":         {content: "anna:0x10:010\n", ranges: []subIDRange{{16, 8}}},
		"id 0":                        {content: "anna:0:1\n", ranges: []subIDRange{{0, 1}}},
		"not octal":                   {content: "anna:08:1\n", ignored: 1},
		"up to the last id":           {content: "anna:4294967294:1\n", ranges: []subIDRange{{math.MaxUint32 - 1, 1}}},
		"all ids":                     {content: "anna:0:4294967295\n", ranges: []subIDRange{{0, math.MaxUint32}}},
		"past the last id":            {content: "bob:1:1\nanna:4294967294:2\n", bad: "line 2: 2 ids starting with 4294967294"},
		"(uid_t) -1":                  {content: "anna:4294967295:1\n", bad: "past the last id, 4294967294"},
		"beyond 32 bits":              {content: "anna:4294967296:1\n", bad: "line 1"},
		"a sum beyond 64 bits":        {content: "anna:18446744073709551615:18446744073709551615\n", bad: "line 1"},
		"a number beyond 64 bits":     {content: "anna:1:18446744073709551616\n", ignored: 1},
		"bytes that are not text":     {content: "anna\x00:1:1\n\xff\xfe:1:1\n"},
		"a long line of somebody's":   {content: strings.Repeat("x", 1<<20) + ":1:1\nanna:5:5\n", ranges: []subIDRange{{5, 5}}},
		"a line that begins with it":  {content: "anna\n", ignored: 1},
		"the first ignored is told":   {content: "anna:1:1\nanna:2\nanna:3\n", ranges: []subIDRange{{1, 1}}, ignored: 2},
		"an octal number that is not": {content: "anna:1:0x\n", ignored: 1},
	} {
		ranges, ignored, err := parseSubIDs(c.content, "anna", "1001")
		if c.bad != "" {
			if !errors.Is(err, os.ErrInvalid) || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%s: %v, want %q", name, err, c.bad)
			}
			continue
		}
		if err != nil || !slices.Equal(ranges, c.ranges) || ignored != c.ignored {
			t.Errorf("%s: %v, ignored line %d, %v; want %v, %d", name, ranges, ignored, err, c.ranges, c.ignored)
		}
	}
}

func TestParseGetSubIDs(t *testing.T) {
	for out, want := range map[string][]subIDRange{
		"":                                      nil,
		"0: anna 100000 65536\n":                {{100000, 65536}},
		"0: anna 100000 65536\n1: anna 5 6":     {{100000, 65536}, {5, 6}},
		"0: DOMAIN\\anna of the hill 5 6\n\n":   {{5, 6}},
		"0: anna 1 0\n1: anna 4294967294 1\n":   {{math.MaxUint32 - 1, 1}},
		"0: anna 4294967295 1\n":                nil,
		"0: anna 1 18446744073709551615\n":      nil,
		"0: anna 1 99999999999999999999\n":      nil,
		"anna 100000 65536\n":                   nil,
		"0: 100000 65536\n":                     nil,
		"anna:100000:65536\n":                   nil,
		"0: anna -1 5\n":                        nil,
		"Usage: getsubids [-g] user\n":          nil,
		"0: anna 100000 65536\nError fetching ": nil,
	} {
		got, err := parseGetSubIDs(out)
		if want == nil && out != "" {
			if !errors.Is(err, os.ErrInvalid) || got != nil {
				t.Errorf("%q: %v, %v; want an error", out, got, err)
			}
		} else if err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", out, got, err, want)
		}
	}
}

func TestPasswdName(t *testing.T) {
	const users = "root:x:0:0:root:/root:/bin/sh\n+nis\nshort:x:7\nanna:x:1001:1001::/:\ntoo:x:1001:1001::/:\n"
	for uid, want := range map[string]string{"0": "root", "1001": "anna", "100": "", "7": "", "": "", "x": ""} {
		if got := passwdName(users, uid); got != want {
			t.Errorf("%s: %q, want %q", uid, got, want)
		}
	}
}

func TestSubIDMap(t *testing.T) {
	const page = 4096
	many := func(n, step uint32) (ranges []subIDRange) {
		for i := range n {
			ranges = append(ranges, subIDRange{100 + step*i, 1})
		}
		return ranges
	}
	for name, c := range map[string]struct {
		own    uint32
		ranges []subIDRange
		want   []IDMap
	}{
		"one":                      {1000, []subIDRange{{100000, 65536}}, []IDMap{{0, 1000, 1}, {1, 100000, 65536}}},
		"consecutive inside":       {1000, []subIDRange{{100000, 10}, {5000, 5}, {200000, 1}}, []IDMap{{0, 1000, 1}, {1, 100000, 10}, {11, 5000, 5}, {16, 200000, 1}}},
		"twice the same":           {1000, []subIDRange{{5, 5}, {5, 5}}, []IDMap{{0, 1000, 1}, {1, 5, 5}}},
		"overlapping above":        {1000, []subIDRange{{5, 5}, {7, 5}}, []IDMap{{0, 1000, 1}, {1, 5, 5}, {6, 10, 2}}},
		"overlapping below":        {1000, []subIDRange{{5, 5}, {3, 5}}, []IDMap{{0, 1000, 1}, {1, 5, 5}, {6, 3, 2}}},
		"containing":               {1000, []subIDRange{{5, 5}, {3, 10}}, []IDMap{{0, 1000, 1}, {1, 5, 5}, {6, 3, 2}, {8, 10, 3}}},
		"contained":                {1000, []subIDRange{{3, 10}, {5, 5}}, []IDMap{{0, 1000, 1}, {1, 3, 10}}},
		"the caller's own id":      {1000, []subIDRange{{990, 20}}, []IDMap{{0, 1000, 1}, {1, 990, 10}, {11, 1001, 9}}},
		"only the caller's own id": {1000, []subIDRange{{1000, 1}}, []IDMap{{0, 1000, 1}}},
		"root's":                   {0, []subIDRange{{0, 10}}, []IDMap{{0, 0, 1}, {1, 1, 9}}},
		"all there are":            {7, []subIDRange{{0, math.MaxUint32}}, []IDMap{{0, 7, 1}, {1, 0, 7}, {8, 8, math.MaxUint32 - 8}}},
	} {
		got := subIDMap(c.own, c.ranges, page)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if err := checkIDMaps("uid", got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := subIDMap(1, many(1000, 2), 1<<20); len(got) != maxIDMapLines {
		t.Errorf("%d lines of 1000, want %d", len(got), maxIDMapLines)
	}
	got := subIDMap(1, many(1000, 2000000), page)
	if size := len(formatIDMaps(got)); size >= page || size < page-30 {
		t.Errorf("%d lines have %d bytes, want as many as fit %d", len(got), size, page)
	}
}

// good is the evidence of a plain user for whom all is well.
func good() *subIDEvidence {
	ev := &subIDEvidence{option: "SubIDs", subIDUser: subIDUser{user: "anna", names: []string{"anna"}, group: 1001, hasGroup: true}}
	for i, k := range subIDKinds {
		ev.of[i].real, ev.of[i].effective = 1000+uint32(i), 1000+uint32(i)
		ev.of[i].tool = idMapTool{path: "/usr/bin/" + k.tool, setuid: true}
		ev.of[i].subIDSource = subIDSource{path: "/etc/sub" + k.what, ranges: []subIDRange{{100000 * (uint32(i) + 1), 10}}}
	}
	return ev
}

func TestSubIDsAreRefusedWithAReason(t *testing.T) {
	for name, c := range map[string]struct {
		change func(ev *subIDEvidence)
		is     error
		words  []string // none means no error
	}{
		"all is well":        {change: func(*subIDEvidence) {}},
		"file capabilities":  {change: func(ev *subIDEvidence) { ev.of[0].tool.setuid, ev.of[0].tool.capable = false, true }},
		"one tool missing":   {func(ev *subIDEvidence) { ev.of[1].tool = idMapTool{err: exec.ErrNotFound} }, exec.ErrNotFound, []string{"user newgidmap: ", "package uidmap"}},
		"not executable":     {func(ev *subIDEvidence) { ev.of[0].tool = idMapTool{err: os.ErrPermission} }, os.ErrPermission, []string{"newuidmap"}},
		"neither setuid nor": {func(ev *subIDEvidence) { ev.of[0].tool.setuid = false }, syscall.EPERM, []string{"/usr/bin/newuidmap", "neither setuid root", "cap_setuid"}},
		"an unmapped owner": {func(ev *subIDEvidence) { ev.of[0].tool.setuid, ev.of[0].tool.unowned = false, "uid 0 is not mapped" }, syscall.EPERM,
			[]string{"/usr/bin/newuidmap", "ignores its setuid bit here: uid 0 is not mapped"}},
		"nor the other":          {func(ev *subIDEvidence) { ev.of[1].tool.setuid = false }, os.ErrPermission, []string{"/usr/bin/newgidmap", "cap_setgid"}},
		"nosuid":                 {func(ev *subIDEvidence) { ev.of[1].tool.nosuid = true }, syscall.EPERM, []string{"/usr/bin/newgidmap", "nosuid"}},
		"no_new_privs":           {func(ev *subIDEvidence) { ev.noNewPrivs = true }, syscall.EPERM, []string{"/usr/bin/newuidmap", "no_new_privs", "this thread"}},
		"a setuid program":       {func(ev *subIDEvidence) { ev.of[0].effective = 0 }, syscall.EPERM, []string{"real uid, 1000", "effective one, 0"}},
		"no name":                {func(ev *subIDEvidence) { ev.nameless = true }, syscall.EPERM, []string{"/usr/bin/newuidmap", "name", "getent"}},
		"newgrp":                 {func(ev *subIDEvidence) { ev.group = 50 }, syscall.EPERM, []string{"/usr/bin/newuidmap", "user anna", "primary group alone, 50", "gid 1001", "GRANT_AUX_GROUP_SUBIDS"}},
		"newgrp, granted":        {change: func(ev *subIDEvidence) { ev.group, ev.auxGroups = 50, true }},
		"group not known":        {change: func(ev *subIDEvidence) { ev.hasGroup = false }},
		"no uids":                {func(ev *subIDEvidence) { ev.of[0].ranges = nil }, ErrNoSubIDs, []string{"user /etc/subuid: ", "user anna", "range of uids", "usermod --add-subuids"}},
		"no gids":                {func(ev *subIDEvidence) { ev.of[1].ranges = nil }, ErrNoSubIDs, []string{"user /etc/subgid: ", "range of gids", "usermod --add-subgids"}},
		"a line that is ignored": {func(ev *subIDEvidence) { ev.of[1].ranges, ev.of[1].ignored = nil, 7 }, ErrNoSubIDs, []string{"line 7", "NAME:FIRST:COUNT"}},
		"unreadable":             {func(ev *subIDEvidence) { ev.of[1].err = os.ErrPermission }, os.ErrPermission, []string{"/etc/subgid"}},
		"root needs no tools": {change: func(ev *subIDEvidence) {
			*ev = subIDEvidence{direct: true, subIDUser: subIDUser{nameless: true}, of: ev.of}
			ev.of[0].tool, ev.of[1].tool = idMapTool{}, idMapTool{}
		}},
		"root without ranges": {func(ev *subIDEvidence) { ev.direct, ev.user, ev.of[0].ranges = true, "root", nil }, ErrNoSubIDs,
			[]string{"user root", "/etc/subuid and one in /etc/subgid", "IDMaps"}},
	} {
		ev := good()
		c.change(ev)
		err := ev.checkTools()
		var maps [2][]IDMap
		if err == nil {
			maps, err = ev.maps(4096)
		}
		if err == nil {
			err = ev.checkUser()
		}
		if len(c.words) == 0 {
			if want := [2][]IDMap{{{0, 1000, 1}, {1, 100000, 10}}, {{0, 1001, 1}, {1, 200000, 10}}}; err != nil || fmt.Sprint(maps) != fmt.Sprint(want) {
				t.Errorf("%s: %v, %v; want %v", name, maps, err, want)
			}
			continue
		}
		var e *Error
		if !errors.As(err, &e) || e.Op != "unshare" || e.Type != User || e.Path == "" || e.Hint == "" && name != "unreadable" || !errors.Is(err, c.is) {
			t.Errorf("%s: %#v, want an unshare error of user with a path and a hint, matching %v", name, err, c.is)
			continue
		}
		for _, w := range c.words {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v; want %q in it", name, err, w)
			}
		}
	}
}

// An image that runs with any uid has no user of that uid.
func TestUserWithoutANameCannotBeTakenForOneOfUsermod(t *testing.T) {
	for _, direct := range []bool{false, true} {
		ev := good()
		ev.direct, ev.user, ev.names, ev.nameless = direct, "70001", nil, true
		ev.of[0].ranges, ev.of[1].ranges = nil, nil
		_, err := ev.maps(4096)
		_, ownErr := ev.ownLines(0, []IDMap{{0, 5, 3}})
		for _, err := range []error{err, ownErr} {
			if !errors.Is(err, ErrNoSubIDs) || strings.Contains(err.Error(), "usermod") || !strings.Contains(err.Error(), "no name is known for uid 70001") ||
				!direct && !strings.Contains(err.Error(), "/etc/passwd") || direct && !strings.Contains(err.Error(), "70001:FIRST:COUNT in /etc/subuid") {
				t.Errorf("direct %v: %v", direct, err)
			}
		}
	}
}

// The kernel ignores the setuid bit of files whose owner is not mapped. Those with a mapped owner
// are looked at as before.
func TestOwnerOfASetuidFileCannotBeUnmappedUnseen(t *testing.T) {
	for name, c := range map[string]struct {
		uid   []IDMap
		owner uint32
		want  string
	}{
		"bubblewrap":              {[]IDMap{{1001, 1001, 1}}, 65534, "uid 0 is not mapped in W (mapped: 1001)"},
		"a namespace with root":   {[]IDMap{{0, 1001, 1}}, 65534, "its owner is not mapped in W"},
		"nobody's file":           {[]IDMap{{0, 0, 1 << 31}}, 65534, ""},
		"somebody else's":         {[]IDMap{{0, 0, 1 << 31}}, 1000, ""},
		"all but root are mapped": {[]IDMap{{1, 1, 1 << 31}}, 65534, "uid 0 is not mapped in W (mapped: 1-2147483648)"},
	} {
		ev := &idEvidence{where: "W", known: true, uid: c.uid}
		if got := ev.unownedFile(c.owner); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if got := new(idEvidence).unownedFile(65534); got != "" {
		t.Errorf("without maps: %q", got)
	}
}

func TestFileCapability(t *testing.T) {
	v2 := func(permitted byte) []byte {
		return []byte{1, 0, 0, 2, permitted, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	}
	for name, c := range map[string]struct {
		attr []byte
		want [2]bool // for each tool
	}{
		"none":       {nil, [2]bool{}},
		"short":      {v2(0xff)[:11], [2]bool{}},
		"cap_setuid": {v2(1 << 7), [2]bool{true, false}},
		"cap_setgid": {v2(1 << 6), [2]bool{false, true}},
		"version 3":  {append(v2(1<<7), 0, 0, 0, 0), [2]bool{true, false}},
		"another":    {v2(1 << 5), [2]bool{}},
	} {
		for i, k := range subIDKinds {
			if got := fileCapability(c.attr, k.capability); got != c.want[i] {
				t.Errorf("%s for %s: %v", name, k.tool, got)
			}
		}
	}
}

func TestSubIDsOptionIsChecked(t *testing.T) {
	own := []IDMap{{0, 0, 1}}
	for name, c := range map[string]struct {
		types Type
		opts  []UnshareOption
		want  string
	}{
		"alone":          {User, []UnshareOption{SubIDs()}, ""},
		"with setgroups": {User | Net, []UnshareOption{Setgroups(true), SubIDs()}, ""},
		"without user":   {Net, []UnshareOption{SubIDs()}, "SubIDs needs user"},
		"with IDMaps":    {User, []UnshareOption{SubIDs(), IDMaps(own, own)}, "SubIDs and IDMaps exclude each other"},
		"with NoIDMaps":  {User, []UnshareOption{NoIDMaps(), SubIDs()}, "SubIDs and NoIDMaps exclude each other"},

		"only, without user": {Net, []UnshareOption{OnlySubIDs()}, "OnlySubIDs needs user"},
		"only, with IDMaps":  {User, []UnshareOption{OnlySubIDs(), IDMaps(own, own)}, "OnlySubIDs and IDMaps exclude each other"},
	} {
		_, err := unshareConfig(c.types, c.opts)
		if c.want == "" && err != nil || c.want != "" && (!errors.Is(err, os.ErrInvalid) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// What is read, whatever it is, becomes ranges of valid ids, and they a map that
// the kernel takes.
func FuzzSubIDs(f *testing.F) {
	f.Add("anna:100000:65536\nbob:165536:65536\n", uint32(1000))
	f.Add("1001:100000:65536\nanna:0x10:010\nanna:4294967294:1\nanna:4294967294:2\n", uint32(0))
	f.Add("0: anna 100000 65536\n1: anna 5 6", uint32(100001))
	f.Add("anna:x:1001:1001::/:\n", uint32(math.MaxUint32-1))
	f.Add(strings.Repeat("anna:1:4294967290\nanna:7:3\n", 300), uint32(8))
	f.Fuzz(func(t *testing.T, text string, own uint32) {
		_ = passwdName(text, "1001")
		_, _ = passwdGroup(text, "1001")
		_ = auxGroupsGranted(text)
		fromFile, ignored, err := parseSubIDs(text, "anna", "1001")
		if err != nil && (fromFile != nil || ignored != 0) || ignored > strings.Count(text, "\n")+1 {
			t.Errorf("%v, %d, %v", fromFile, ignored, err)
		}
		printed, err := parseGetSubIDs(text)
		if err != nil && printed != nil {
			t.Errorf("%v, %v", printed, err)
		}
		if own == math.MaxUint32 {
			own-- // nobody's
		}
		for _, ranges := range [][]subIDRange{fromFile, printed} {
			maps := subIDMap(own, ranges, os.Getpagesize())
			if err := checkIDMaps("uid", maps); err != nil || maps[0] != (IDMap{0, own, 1}) {
				t.Errorf("%v of %v: %v", maps, ranges, err)
			}
			for i, m := range maps[1:] {
				if m.ContainerID != maps[i].ContainerID+maps[i].Size {
					t.Errorf("not consecutive: %v", maps)
				}
				if !slices.ContainsFunc(ranges, func(r subIDRange) bool {
					return m.HostID >= r.first && uint64(m.HostID)+uint64(m.Size) <= uint64(r.first)+uint64(r.count)
				}) {
					t.Errorf("line %d of %v is not in %v", i+1, maps, ranges)
				}
			}
		}
	})
}
