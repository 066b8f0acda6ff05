package gonso

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// running starts cat, which runs until the test ends.
func running(t testing.TB, s *Set, change func(*Cmd)) *Cmd {
	t.Helper()
	c := s.Command(context.Background(), "cat")
	change(c)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := c.Wait(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// limitOf is a limit of a process, from outside.
func limitOf(t testing.TB, pid, resource int) Rlimit {
	t.Helper()
	var r unix.Rlimit
	if err := unix.Prlimit(pid, resource, nil, &r); err != nil {
		t.Fatal(err)
	}
	return Rlimit{resource, r.Cur, r.Max}
}

// kernelHas32Bits looks whether a kernel takes 1 TiB for no limit. This program may have 32 bits on one of 64.
func kernelHas32Bits(t testing.TB) bool {
	t.Helper()
	pid := running(t, new(Set), func(*Cmd) {}).Process.Pid
	if err := unix.Prlimit(pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1 << 40, Max: 1 << 41}, nil); err != nil {
		t.Fatal(err)
	}
	return limitOf(t, pid, unix.RLIMIT_FSIZE).Soft == unix.RLIM_INFINITY
}

// What a program is to have of limits, masks and privileges is what the kernel shows of it, in every Set.
func TestCommandProcessFields(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("cat"))
	testenv.Leaks(t)
	files := limitOf(t, 0, unix.RLIMIT_NOFILE)
	sets := commandSets(t)
	if testenv.Has(testenv.UserNS) { // somebody else's, as far as can be known
		there := running(t, unshare(t, User|PID|Mount), func(*Cmd) {}).Process.Pid
		sets["opened"] = owned(t)(FromPID(there, User, PID, Mount))
		sets["opened, files of outside"] = owned(t)(FromPID(there, User))
	}
	fileSize := "1099511627776 2199023255552"
	if kernelHas32Bits(t) {
		fileSize = "unlimited unlimited"
	}
	for name, s := range sets {
		t.Run(name, func(t *testing.T) {
			limits := []Rlimit{{unix.RLIMIT_NOFILE, 50, 60}, {unix.RLIMIT_CORE, 0, 4096}, {unix.RLIMIT_FSIZE, 1 << 40, 1 << 41}}
			extra := make([]*os.File, 25)
			for i := range extra {
				extra[i] = os.Stdin
			}
			c := running(t, s, func(c *Cmd) {
				c.Umask, c.NoNewPrivs, c.OOMScoreAdj = new(0o27), true, new(321)
				c.Rlimits = limits
				c.ExtraFiles = extra
			})
			pid := c.Process.Pid
			st := statusOf(t, pid)
			if st["Umask"] != "0027" || st["NoNewPrivs"] != "1" {
				t.Errorf("umask %s, no_new_privs %s", st["Umask"], st["NoNewPrivs"])
			}
			if got := procFile(t, pid, "oom_score_adj"); got != "321" {
				t.Errorf("oom_score_adj %s", got)
			}
			for line, want := range map[string]string{"Max open files": "50 60 files", "Max core file size": "0 4096 bytes", "Max file size": fileSize + " bytes"} {
				if got := procFile(t, pid, "limits"); !strings.Contains(got, line+" "+want) {
					t.Errorf("%s %s is not in %s", line, want, got)
				}
			}
			plain := running(t, s, func(*Cmd) {}).Process.Pid
			if st := statusOf(t, plain); st["NoNewPrivs"] != "0" || procFile(t, plain, "oom_score_adj") != procFile(t, os.Getpid(), "oom_score_adj") {
				t.Errorf("without the fields: %v", st)
			}
		})
	}
	if got := limitOf(t, 0, unix.RLIMIT_NOFILE); got != files {
		t.Errorf("this process has %+v, and had %+v", got, files)
	}
}

// A hard limit above that of this process is had with the privilege of outside, in a user namespace too,
// and refused without.
func TestCommandRlimitsAreRaisedWithPrivilege(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("cat"))
	testenv.Leaks(t)
	now := limitOf(t, 0, unix.RLIMIT_MSGQUEUE)
	if now.Hard > math.MaxInt64 {
		t.Fatalf("no limit to raise: %+v", now)
	}
	want := Rlimit{unix.RLIMIT_MSGQUEUE, now.Hard + 5, now.Hard + 10}
	for name, s := range commandSets(t) {
		if !hasCapability(unix.CAP_SYS_RESOURCE) {
			c := s.Command(context.Background(), "cat")
			c.Rlimits = []Rlimit{want}
			wantError(t, name, c.Start(), unix.EPERM, "start: Rlimits: RLIMIT_MSGQUEUE", "the hard limit of this process is")
			continue
		}
		c := running(t, s, func(c *Cmd) { c.Rlimits = []Rlimit{want} })
		if got := limitOf(t, c.Process.Pid, unix.RLIMIT_MSGQUEUE); got != want {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

func capBits(caps ...uintptr) string { return fmt.Sprintf("%016x", uint64(setOf(caps))) }

// The sets are what execve(2) makes of those that are given.
func TestCommandCapabilities(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS, testenv.Tool("cat"))
	testenv.Leaks(t)
	sets := map[string]*Set{"user": unshare(t, User), "user+pid+mnt": unshare(t, User|PID|Mount)}
	if testenv.Has(testenv.Root) {
		sets["zero"] = new(Set)
		ids := []IDMap{{0, 70000, 100}}
		sets["many ids"] = unshare(t, User, IDMaps(ids, ids))
	}
	some := []uintptr{unix.CAP_CHOWN, unix.CAP_KILL, unix.CAP_NET_BIND_SERVICE}
	few, none := some[:1], capBits()
	for name, s := range sets {
		for what, c := range map[string]struct {
			caps            Capabilities
			nnp             bool
			uid             uint32
			prm, inh, bound string
			amb             string
		}{
			"none at all":          {prm: none, inh: none, bound: none, amb: none},
			"root has the bounds":  {caps: Capabilities{Bounding: some}, prm: capBits(some...), inh: none, bound: capBits(some...), amb: none},
			"root, no_new_privs":   {caps: Capabilities{Bounding: some, Permitted: few}, nnp: true, prm: capBits(few...), inh: none, bound: capBits(some...), amb: none},
			"inheritable":          {caps: Capabilities{Bounding: some, Permitted: some, Effective: few, Inheritable: few}, prm: capBits(some...), inh: capBits(few...), bound: capBits(some...), amb: none},
			"somebody else's":      {caps: Capabilities{Bounding: some, Permitted: some, Effective: some}, uid: 7, prm: none, inh: none, bound: capBits(some...), amb: none},
			"somebody's ambient":   {caps: Capabilities{Bounding: some, Permitted: some, Inheritable: some, Ambient: few}, uid: 7, prm: capBits(few...), inh: capBits(some...), bound: capBits(some...), amb: capBits(few...)},
			"ambient, no_new_priv": {caps: Capabilities{Bounding: few, Permitted: few, Inheritable: few, Ambient: few}, nnp: true, uid: 7, prm: capBits(few...), inh: capBits(few...), bound: capBits(few...), amb: capBits(few...)},
		} {
			if c.uid != 0 && name != "zero" && name != "many ids" {
				continue
			}
			p := running(t, s, func(cmd *Cmd) {
				cmd.Capabilities, cmd.NoNewPrivs = &c.caps, c.nnp
				if c.uid != 0 {
					cmd.Credential = &Credential{UID: c.uid, GID: c.uid}
				}
			})
			st := statusOf(t, p.Process.Pid)
			if st["CapPrm"] != c.prm || st["CapEff"] != c.prm || st["CapInh"] != c.inh || st["CapBnd"] != c.bound || st["CapAmb"] != c.amb {
				t.Errorf("%s, %s: permitted %s effective %s inheritable %s bounding %s ambient %s; want %s %s %s %s", name, what,
					st["CapPrm"], st["CapEff"], st["CapInh"], st["CapBnd"], st["CapAmb"], c.prm, c.inh, c.bound, c.amb)
			}
		}
	}
}

// Whatever is refused names its field, and leaves nothing behind.
func TestCommandProcessFieldsAreRefusedByName(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("cat"))
	testenv.Leaks(t)
	chown := []uintptr{unix.CAP_CHOWN}
	for what, c := range map[string]struct {
		change func(*Cmd)
		is     error
		words  string
	}{
		"umask":           {func(c *Cmd) { c.Umask = new(0o1000) }, os.ErrInvalid, "start: Umask is 01000"},
		"umask, negative": {func(c *Cmd) { c.Umask = new(-1) }, os.ErrInvalid, "start: Umask is -01"},
		"oom":             {func(c *Cmd) { c.OOMScoreAdj = new(1001) }, os.ErrInvalid, "start: OOMScoreAdj is 1001"},
		"limit":           {func(c *Cmd) { c.Rlimits = []Rlimit{{Resource: 16}} }, os.ErrInvalid, "start: Rlimits has resource 16"},
		"soft and hard":   {func(c *Cmd) { c.Rlimits = []Rlimit{{7, 2, 1}} }, os.ErrInvalid, "start: Rlimits has a soft limit of 2"},
		"bounding":        {func(c *Cmd) { c.Capabilities = &Capabilities{Bounding: []uintptr{64}} }, os.ErrInvalid, "start: Capabilities.Bounding has 64"},
		"last":            {func(c *Cmd) { c.Capabilities = &Capabilities{Ambient: []uintptr{63}} }, os.ErrInvalid, "start: Capabilities.Ambient has 63, and the last"},
		"effective":       {func(c *Cmd) { c.Capabilities = &Capabilities{Effective: chown} }, os.ErrInvalid, "start: Capabilities.Effective has 0, which is not in Capabilities.Permitted"},
		"ambient": {func(c *Cmd) { c.Capabilities = &Capabilities{Ambient: chown, Permitted: chown} }, os.ErrInvalid,
			"start: Capabilities.Ambient has 0, which is not in Capabilities.Inheritable"},
		"inheritable": {func(c *Cmd) { c.Capabilities = &Capabilities{Inheritable: chown} }, os.ErrInvalid, "start: Capabilities.Inheritable has 0, which is not in Capabilities.Bounding"},
		"both":        {func(c *Cmd) { c.Capabilities, c.AmbientCaps = &Capabilities{}, chown }, os.ErrInvalid, "AmbientCaps and Capabilities exclude each other"},
	} {
		cmd := new(Set).Command(context.Background(), "cat")
		c.change(cmd)
		wantError(t, what, cmd.Start(), c.is, c.words)
	}
	if testenv.Has(testenv.Root) {
		return
	}
	without := new(Set).Command(context.Background(), "cat")
	without.Capabilities = &Capabilities{}
	wantError(t, "without CAP_SETPCAP", without.Start(), unix.EPERM, "start: Capabilities.Bounding: ", "lacks CAP_SETPCAP")
	score, err := strconv.Atoi(procFile(t, os.Getpid(), "oom_score_adj"))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range commandSets(t) {
		cmd := s.Command(context.Background(), "cat")
		cmd.OOMScoreAdj = new(max(score-1, -1000))
		if err := cmd.Start(); score > -1000 {
			wantError(t, name, err, os.ErrPermission, "start: OOMScoreAdj: ", "CAP_SYS_RESOURCE")
		}
	}
	cmd := new(Set).Command(context.Background(), "cat")
	cmd.Capabilities = &Capabilities{Permitted: chown}
	err = cmd.Start()
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "start: Capabilities") {
		t.Errorf("capabilities that nobody has: %v", err)
	}
}

// The same goes for this program itself.
func TestSelfHasTheProcessFields(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS)
	testenv.Leaks(t)
	if isSelf && testenv.IsAgain(t) {
		var files unix.Rlimit
		err := unix.Getrlimit(unix.RLIMIT_NOFILE, &files)
		fmt.Println("umask", fmt.Sprintf("%#o", unix.Umask(0)), "hard", files.Max, "nnp", statusOf(t, os.Getpid())["NoNewPrivs"], err)
		return
	}
	c := unshare(t, User).Self(context.Background(), testenv.Again(t).Args[1:]...)
	c.Env = testenv.Again(t).Env
	c.Umask, c.NoNewPrivs, c.Rlimits = new(0o77), true, []Rlimit{{unix.RLIMIT_NOFILE, 100, 200}}
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "umask 077 hard 200 nnp 1 <nil>\n") {
		t.Errorf("%v: %s", err, out)
	}
}
