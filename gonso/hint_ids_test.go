package gonso

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// Which rule of the kernel's was broken is said, and which of the two maps and which line broke it.
// What breaks none gets no hint (containers/podman#8816, okd-project/okd#1127).
func TestBrokenRuleForIDsCannotBeMistaken(t *testing.T) {
	root := idEvidence{
		where: "W", who: "this process", known: true, capsKnown: true, setfcap: true, caps: ^capSet(0),
		uid: []IDMap{{0, 1000, 10}, {10, 2000, 10}}, gid: []IDMap{{0, 1000, 1}},
	}
	without := func(caps ...uint) idEvidence {
		ev := root
		for _, c := range caps {
			ev.caps &^= 1 << c
		}
		return ev
	}
	plain := without(capSetuid, capSetgid, capSetfcap)
	plain.euid, plain.egid = 7, 8
	plain.uid, plain.gid = []IDMap{{0, 0, 1 << 31}}, []IDMap{{0, 0, 1 << 31}}
	old := without(capSetfcap)
	old.setfcap = false
	unknown := idEvidence{}
	bare := root
	bare.uid, bare.gid = nil, nil
	denied := plain
	denied.setgroupsDenied = true
	ok := []IDMap{{0, 0, 1}}
	for name, c := range map[string]struct {
		ev       idEvidence
		uid, gid []IDMap
		deny     bool
		want     string
	}{
		"nothing wrong":                 {root, []IDMap{{0, 0, 10}, {10, 10, 10}}, ok, false, ""},
		"nothing known":                 {unknown, []IDMap{{0, 5, 10}}, []IDMap{{0, 5, 10}}, false, ""},
		"not mapped above":              {root, []IDMap{{0, 20, 1}}, ok, false, "uid map, line 0 (0 20 1): uid 20 is not mapped in W (mapped: 0-9, 10-19)"},
		"runs past what is mapped":      {root, []IDMap{{0, 0, 1}, {1, 15, 10}}, ok, false, "uid map, line 1 (1 15 10): uids 15-24 are not all mapped in W (mapped: 0-9, 10-19)"},
		"spans two lines":               {root, []IDMap{{0, 5, 10}}, ok, false, "uid map, line 0 (0 5 10): uids 5-14 are in several lines of the map of W, and the kernel takes lines that are in one: begin another at 10"},
		"the gid map":                   {root, ok, []IDMap{{0, 1, 1}}, false, "gid map, line 0 (0 1 1): gid 1 is not mapped in W (mapped: 0)"},
		"no maps above":                 {bare, ok, ok, false, "uid map, line 0 (0 0 1): uid 0 is not mapped in W, which has no uid map"},
		"root without CAP_SETFCAP":      {without(capSetfcap), []IDMap{{1, 1, 1}, {0, 0, 1}}, ok, false, "uid map, line 1 (0 0 1): it maps uid 0 of W, which takes CAP_SETFCAP there since Linux 5.12, and this process lacks that" + giveCapability},
		"an old kernel":                 {old, ok, ok, false, ""},
		"without it, not needed":        {without(capSetfcap), []IDMap{{0, 1, 1}}, ok, false, ""},
		"a plain user's many":           {plain, []IDMap{{0, 7, 2}}, []IDMap{{0, 8, 1}}, true, "uid map: without CAP_SETUID this process can map only its own effective uid, 7, in one line of one id; SubIDs maps more"},
		"a plain user's other gid":      {plain, []IDMap{{0, 7, 1}}, []IDMap{{0, 7, 1}}, true, "gid map: without CAP_SETGID this process can map only its own effective gid, 8, in one line of one id; SubIDs maps more"},
		"a plain user's own":            {plain, []IDMap{{5, 7, 1}}, []IDMap{{5, 8, 1}}, true, ""},
		"a plain user's, setgroups":     {plain, []IDMap{{5, 7, 1}}, []IDMap{{5, 8, 1}}, false, "gid map: without CAP_SETGID this process can write it only where setgroups is denied: leave Setgroups(true) out"},
		"denied above":                  {denied, []IDMap{{5, 7, 1}}, []IDMap{{5, 8, 1}}, false, ""},
		"root with CAP_SETUID alone":    {without(capSetgid), []IDMap{{0, 1, 9}}, []IDMap{{0, 0, 2}}, true, "gid map: without CAP_SETGID this process can map only its own effective gid, 0, in one line of one id; SubIDs maps more"},
		"root without any capabilities": {without(capSetuid, capSetgid, capSetfcap), ok, ok, true, "uid map, line 0 (0 0 1): it maps uid 0 of W, which takes CAP_SETFCAP there since Linux 5.12, and this process lacks that" + giveCapability},
		"the last ids":                  {root, []IDMap{{0, 4294967294, 1}}, ok, false, "uid map, line 0 (0 4294967294 1): uid 4294967294 is not mapped in W (mapped: 0-9, 10-19)"},
	} {
		if got := c.ev.refusedMaps(c.uid, c.gid, c.deny); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}

	for name, c := range map[string]struct {
		ev   idEvidence
		cred Credential
		want string
	}{
		"nothing wrong":    {root, Credential{UID: 9}, ""},
		"not mapped":       {root, Credential{UID: 30, GID: 30, Groups: []uint32{0, 31}}, "uid 30 is not mapped in W (mapped: 0-9, 10-19); gid 30 is not mapped there (mapped: 0); gid 31 is not mapped there (mapped: 0)"},
		"setgroups denied": {denied, Credential{UID: 7, GID: 8}, "setgroups(2) is denied in W: set NoSetGroups"},
		"groups are left":  {denied, Credential{UID: 7, GID: 8, NoSetGroups: true, Groups: []uint32{99}}, ""},
		"no capability":    {without(capSetuid), Credential{UID: 5}, "this process lacks CAP_SETUID in W; a Set with a user namespace of its own that maps the ids has it"},
	} {
		c.ev.ownUIDs, c.ev.ownGIDs = []uint32{c.ev.euid}, []uint32{c.ev.egid}
		got := c.ev.refusedCredential(&c.cred)
		if name == "setgroups denied" || name == "groups are left" { // plain has not the capabilities either
			got = strings.Split(got, "; ")[0]
			if name == "groups are left" {
				c.ev.capsKnown = false
				got = c.ev.refusedCredential(&c.cred)
			}
		}
		if got != c.want {
			t.Errorf("credential, %s: %q, want %q", name, got, c.want)
		}
	}
	for caps, want := range map[[2]uintptr]string{
		{1, 2}:           "",
		{1, 41}:          "the kernel has no capability 41: the last is 40",
		{capSetgid, 1}:   "this process has no capability 6 in W to pass on",
		{1, ^uintptr(0)}: fmt.Sprintf("the kernel has no capability %d: the last is 40", ^uintptr(0)),
	} {
		ev := without()
		ev.permitted = ^capSet(0) &^ (1 << capSetgid)
		if got := ev.refusedAmbient(caps[:], 40); got != want {
			t.Errorf("ambient %v: %q, want %q", caps, got, want)
		}
	}
}

// A limit of the Set's own is not said to be this process's (bubblewrap#371).
func TestLimitHintNamesTheNamespaceThatHasIt(t *testing.T) {
	ev := evidence{limits: map[Type]int64{Net: 0}, limitsIn: " in the Set's user namespace"}
	if got := hint("unshare", Net, syscall.ENOSPC, &ev); !strings.HasPrefix(got, "the sysctl user.max_net_namespaces is 0 in the Set's user namespace; ") {
		t.Error(got)
	}
}

// What limits processes is said with its numbers; what does not limit this one is not said.
func TestProcessLimitHints(t *testing.T) {
	for name, c := range map[string]struct {
		p    processLimits
		want string
	}{
		"a cgroup":     {processLimits{cgroup: "/a", inside: 5, cgroupMax: 5}, "the cgroup /a has 5 processes and threads, and may have 5 (pids.max)"},
		"the limit":    {processLimits{known: true, limit: 5, have: 5, uid: 7}, "uid 7 has 5 processes and threads, and RLIMIT_NPROC of this process allows 5 (ulimit -u)"},
		"exempt":       {processLimits{known: true, exempt: true, limit: 5, have: 5}, "possibly a limit of the system is reached"},
		"some unseen":  {processLimits{known: true, limit: 5, have: 1, uid: 7}, "possibly uid 7 has as many processes and threads as RLIMIT_NPROC of this process allows, 5"},
		"nothing seen": {processLimits{}, "possibly a limit of the system"},
	} {
		if got := processHint(&c.p); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestTraceHints(t *testing.T) {
	plain := traceEvidence{pid: 5, euid: 7, egid: 8, capsKnown: true, known: true, uids: []uint32{7, 7, 7}, gids: []uint32{8, 8, 8}}
	change := func(f func(ev *traceEvidence)) *traceEvidence {
		ev := plain
		f(&ev)
		return &ev
	}
	for name, c := range map[string]struct {
		ev   *traceEvidence
		want string
	}{
		"another's":         {change(func(ev *traceEvidence) { ev.uids, ev.gids = []uint32{0, 0, 0}, []uint32{0, 0, 0} }), "that one runs as uid 0 and gid 0, and this thread as uid 7 and gid 8 without CAP_SYS_PTRACE"},
		"setuid":            {change(func(ev *traceEvidence) { ev.uids = []uint32{7, 0, 0} }), "that one runs as uid 0, and"},
		"more capabilities": {change(func(ev *traceEvidence) { ev.permitted = 1 }), "that one has capabilities"},
		"the same":          {&plain, "possibly that one is not dumpable"},
		"with CAP_SYS_PTRACE": {change(func(ev *traceEvidence) {
			ev.caps, ev.uids = 1<<capSysPtrace, []uint32{0, 0, 0}
		}), "possibly that one is in a user namespace"},
	} {
		const begins = "it needs the right to trace process 5 (PTRACE_MODE_READ_FSCREDS in ptrace(2)); "
		if got := traceHint(c.ev); !strings.HasPrefix(got, begins+c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
