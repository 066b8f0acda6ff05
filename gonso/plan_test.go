package gonso

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestDecide(t *testing.T) {
	const mount, net, uts = Mount, Net, UTS
	unsupported := fmt.Errorf("no launcher: %w", errors.ErrUnsupported)
	var (
		closure    = work{closure: true}
		plain      = work{}
		goroutines = work{startsGoroutines: true}
		inThread   = work{inThread: true}
		inProcess  = work{inProcess: true}
		goInThread = work{startsGoroutines: true, inThread: true}
	)
	for _, c := range []struct {
		name    string
		types   Type
		foreign Type
		process error
		w       work
		backend Backend
		why     reason
		about   Type
		err     error
	}{
		// The zero Set, and Sets of what is home.
		{"zero Set, closure", 0, 0, nil, closure, ThreadBackend, becauseClosure, 0, nil},
		{"zero Set, function", 0, 0, nil, plain, ThreadBackend, becauseNothingForeign, 0, nil},
		{"zero Set, goroutines", 0, 0, nil, goroutines, ThreadBackend, becauseNothingForeign, 0, nil},
		{"zero Set, goroutines on a thread", 0, 0, nil, goInThread, ThreadBackend, becauseAsked, 0, nil},
		{"zero Set, in a process", 0, 0, nil, inProcess, ProcessBackend, becauseAsked, 0, nil},
		{"home, closure", AllTypes, 0, nil, closure, ThreadBackend, becauseClosure, 0, nil},
		{"home, function", AllTypes, 0, nil, plain, ThreadBackend, becauseNothingForeign, 0, nil},
		{"home but net, function", AllTypes, net, nil, plain, ThreadBackend, becauseThreadEnters, 0, nil},

		// What a thread can enter.
		{"net, closure", net, net, nil, closure, ThreadBackend, becauseClosure, 0, nil},
		{"net+uts+cgroup+ipc, function", net | uts | Cgroup | IPC, net | uts | Cgroup | IPC, nil, plain, ThreadBackend, becauseThreadEnters, 0, nil},
		{"net, goroutines", net, net, nil, goroutines, ProcessBackend, becauseGoroutines, net, nil},
		{"net, goroutines on a thread", net, net, nil, goInThread, ThreadBackend, becauseAsked, net, ErrNeedsProcess},
		{"net, in a process", net, net, nil, inProcess, ProcessBackend, becauseAsked, 0, nil},
		{"net, on a thread", net, net, nil, inThread, ThreadBackend, becauseAsked, 0, nil},

		// mnt: a thread could, but a function goes to a process.
		{"mnt, closure", mount, mount, nil, closure, ThreadBackend, becauseClosure, 0, nil},
		{"mnt, function", mount, mount, nil, plain, ProcessBackend, becauseMountCaches, mount, nil},
		{"mnt, function on a thread", mount, mount, nil, inThread, ThreadBackend, becauseAsked, 0, nil},
		{"mnt that is home", mount | net, net, nil, plain, ThreadBackend, becauseThreadEnters, 0, nil},

		// pid: on a thread only children would be inside.
		{"pid, closure", PID, PID, nil, closure, ThreadBackend, becauseClosure, 0, nil},
		{"pid, function", PID | mount, PID | mount, nil, plain, ProcessBackend, becausePIDMeansInside, PID, nil},
		{"pid, in a process", PID, PID, nil, inProcess, ProcessBackend, becauseAsked, 0, nil},
		{"no launcher: pid", PID, PID, unsupported, plain, ProcessBackend, becausePIDMeansInside, PID, errors.ErrUnsupported},
		{"pid that is home, in a process", PID, 0, nil, inProcess, ProcessBackend, becauseAsked, 0, nil},
		{"pid, function on a thread", PID, PID, nil, inThread, ThreadBackend, becauseAsked, 0, nil},

		// user and time: no thread.
		{"user, closure", User | net, User | net, nil, closure, ThreadBackend, becauseClosure, User, ErrNeedsProcess},
		{"user, function", User | net | mount, User | net | mount, nil, plain, ProcessBackend, becauseNoThreadEnters, User, nil},
		{"user, function on a thread", User | net, User | net, nil, inThread, ThreadBackend, becauseAsked, User, ErrNeedsProcess},
		{"user+time, closure", User | Time, User | Time, nil, closure, ThreadBackend, becauseClosure, User | Time, ErrNeedsProcess},
		{"time, function", Time, Time, nil, plain, ProcessBackend, becauseNoThreadEnters, Time, nil},
		{"user that is home, closure", User | net, net, nil, closure, ThreadBackend, becauseClosure, 0, nil},

		// An architecture without launcher.
		{"no launcher: net", net, net, unsupported, plain, ThreadBackend, becauseThreadEnters, 0, nil},
		{"no launcher: user", User, User, unsupported, plain, ProcessBackend, becauseNoThreadEnters, User, errors.ErrUnsupported},
		{"no launcher: mnt", mount, mount, unsupported, plain, ProcessBackend, becauseMountCaches, mount, errors.ErrUnsupported},
		{"no launcher: asked", net, net, unsupported, inProcess, ProcessBackend, becauseAsked, 0, errors.ErrUnsupported},
		{"no launcher: mnt, on a thread", mount, mount, unsupported, inThread, ThreadBackend, becauseAsked, 0, nil},
		{"no launcher: closure with user", User, User, unsupported, closure, ThreadBackend, becauseClosure, User, ErrNeedsProcess},
	} {
		d := decide(&facts{types: c.types, foreign: c.foreign, process: c.process}, c.w)
		if d.backend != c.backend || d.why != c.why || d.about != c.about || !errors.Is(d.err, c.err) || c.err == nil && d.err != nil {
			t.Errorf("%s: %s, %q about %v, %v; want %s, %q about %v, %v", c.name,
				d.backend, reasonText[d.why], d.about, d.err, c.backend, reasonText[c.why], c.about, c.err)
		}
		var e *Error
		if d.err != nil && (!errors.As(d.err, &e) || e.Type == 0) {
			t.Errorf("%s: the error names no type: %v", c.name, d.err)
		}
	}
}

// A refused closure is told what to do instead, a refused InThread too.
func TestNeedsProcessNamesTheRemedy(t *testing.T) {
	for w, want := range map[work]string{
		{closure: true}:  "gonso: setns user: no thread of a Go program can enter it (register the function with gonso.Register and call it with Func.Do, which runs it in a process inside)",
		{inThread: true}: "gonso: setns user: no thread of a Go program can enter it (leave InThread out, and it runs in a process inside)",
	} {
		if err := decide(&facts{types: User | Net, foreign: User | Net}, w).err; err == nil || err.Error() != want {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

// Decide never sends work where the kernel refuses it, whatever the Set has.
func TestDecideForEverySet(t *testing.T) {
	for bits := range 1 << numTypes {
		var foreign Type
		for i := range typeTable {
			if bits&(1<<i) != 0 {
				foreign |= typeTable[i].typ
			}
		}
		f := &facts{types: AllTypes, foreign: foreign}
		for _, w := range []work{{}, {closure: true}, {startsGoroutines: true}, {inThread: true}, {inProcess: true}} {
			d := decide(f, w)
			if d.backend == ThreadBackend && foreign&(User|Time) != 0 && !errors.Is(d.err, ErrNeedsProcess) {
				t.Errorf("%v, %+v: user and time on a thread", foreign, w)
			}
			if d.backend == ProcessBackend && w.closure {
				t.Errorf("%v: a closure in a process", foreign)
			}
			if d.backend == ThreadBackend && d.err == nil && !w.closure && !w.inThread && foreign&(Mount|PID) != 0 {
				t.Errorf("%v, %+v: mnt and pid on a thread without being asked for", foreign, w)
			}
			if d.backend == ThreadBackend && d.err == nil && w.startsGoroutines && foreign != 0 {
				t.Errorf("%v: goroutines on a thread", foreign)
			}
		}
	}
}

func TestThreadOrder(t *testing.T) {
	for foreign, want := range map[Type][]Type{
		0:                 nil,
		Net:               {Net},
		Net | UTS:         {Net, UTS},
		Mount:             {Mount},
		Mount | Net | UTS: {Net, UTS, Mount}, // costs the thread its way home, so what can fail goes first
		PID | Mount | IPC: {IPC, PID, Mount},
	} {
		if got := threadOrder(foreign); !slices.Equal(got, want) {
			t.Errorf("%v: %v, want %v", foreign, got, want)
		}
	}
}

func TestRestorable(t *testing.T) {
	for entered, want := range map[Type]bool{
		0: true, Net: true, Net | UTS | Cgroup: true, PID: true,
		IPC: false, Mount: false, Net | IPC: false, Net | Mount: false, User: false, Time: false,
	} {
		if restorable(entered) != want {
			t.Errorf("%v: %v", entered, !want)
		}
	}
}

func TestProcessOrder(t *testing.T) {
	// levels gives facts, unlisted types being the host's.
	levels := func(foreign Type, depth int, at map[Type]int) *facts {
		f := &facts{types: foreign, foreign: foreign, depth: depth}
		for typ, level := range at {
			f.level[typ.index()] = level
		}
		return f
	}
	for name, c := range map[string]struct {
		f    *facts
		want string
	}{
		"nothing":                {levels(0, 0, nil), ""},
		"without user":           {levels(Net|Mount|UTS, 0, nil), "net uts mnt"},
		"user alone":             {levels(User, 1, nil), "user@1"},
		"all owned by user":      {levels(User|Net|Mount, 1, map[Type]int{Net: 1, Mount: 1}), "user@1 net@1 mnt@1"},
		"net owned by the host":  {levels(User|Net|UTS, 1, map[Type]int{UTS: 1}), "net user@1 uts@1"},
		"all owned by the host":  {levels(User|Net|UTS|Mount, 1, nil), "net uts mnt user@1"},
		"nested, owned by inner": {levels(User|Net, 2, map[Type]int{Net: 2}), "user@2 net@2"},
		"nested, owned by outer": {levels(User|Net, 2, map[Type]int{Net: 1}), "user@1 net@1 user@2"},
		"nested, each their own": {levels(User|Net|UTS|IPC, 2, map[Type]int{Net: 1, UTS: 2}), "ipc user@1 net@1 user@2 uts@2"},
		"three deep, middle owns nothing": {levels(User|Net|UTS, 3, map[Type]int{Net: 1, UTS: 3}),
			"user@1 net@1 user@3 uts@3"},
		"owner unknown": {levels(User|Net|UTS, 1, map[Type]int{Net: levelUnknown, UTS: 1}),
			"net? user@1 uts@1 net@1!"},
		"no owner known": {levels(User|Net|Mount, 1, map[Type]int{Net: levelUnknown, Mount: levelUnknown}),
			"net? mnt? user@1 net@1! mnt@1!"},
		"pid and time too": {levels(User|PID|Time, 1, map[Type]int{PID: 1, Time: 1}), "user@1 pid@1 time@1"},
	} {
		var got []string
		for _, j := range processOrder(c.f) {
			s := j.typ.String()
			if j.level > 0 {
				s += fmt.Sprintf("@%d", j.level)
			}
			if j.mayFail {
				s += "?"
			}
			if j.again {
				s += "!"
			}
			got = append(got, s)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", name, strings.Join(got, " "), c.want)
		}
	}
}

// Whatever owns what, everything is joined exactly once, after the user
// namespace it is joined from, and the Set's user namespace is joined.
func TestProcessOrderForEveryOwnership(t *testing.T) {
	others := []Type{IPC, Mount, Net, UTS}
	for depth := 1; depth <= 3; depth++ {
		n := depth + 2 // levels from unknown (-1) to depth
		for code := range n * n * n * n {
			f := &facts{foreign: User | IPC | Mount | Net | UTS, depth: depth}
			for i, rest := 0, code; i < len(others); i, rest = i+1, rest/n {
				f.level[others[i].index()] = rest%n - 1
			}
			joined := make(map[Type]int)
			at := 0
			for _, j := range processOrder(f) {
				if j.typ == User {
					if j.level <= at {
						t.Fatalf("depth %d, levels %v: user namespace %d joined from %d", depth, f.level, j.level, at)
					}
					at = j.level
					continue
				}
				want := f.level[j.typ.index()]
				if want == levelUnknown {
					want = 0
					if j.again {
						want = depth
					}
				}
				if at != want {
					t.Fatalf("depth %d, levels %v: %v joined from %d, want %d", depth, f.level, j.typ, at, want)
				}
				joined[j.typ]++
			}
			if at != depth {
				t.Fatalf("depth %d, levels %v: ended at %d", depth, f.level, at)
			}
			for _, typ := range others {
				want := 1
				if f.level[typ.index()] == levelUnknown {
					want = 2
				}
				if joined[typ] != want {
					t.Fatalf("depth %d, levels %v: %v joined %d times", depth, f.level, typ, joined[typ])
				}
			}
		}
	}
}

func TestPlanUnshare(t *testing.T) {
	unsupported := fmt.Errorf("no launcher: %w", errors.ErrUnsupported)
	for _, c := range []struct {
		name    string
		foreign Type
		process error
		types   Type
		backend Backend
		join    Type
		err     error
	}{
		{"net", 0, nil, Net, ThreadBackend, 0, nil},
		{"net without launcher", 0, unsupported, Net, ThreadBackend, 0, nil},
		{"everything a thread makes", 0, nil, Cgroup | IPC | Mount | Net | UTS, ThreadBackend, 0, nil},
		{"user", 0, nil, User | Net, ProcessBackend, 0, nil},
		{"user without launcher", 0, unsupported, User | Net, ProcessBackend, 0, errors.ErrUnsupported},
		{"net of a Set with user", User | Net | UTS, nil, Net, ProcessBackend, User | Net, nil},
		{"net of a Set with user, without launcher", User, unsupported, Net, ProcessBackend, User, errors.ErrUnsupported},
		{"mnt of a Set with mnt and net", Mount | Net, nil, Mount, ThreadBackend, Mount, nil},
		{"user of a Set with net", Net, nil, User, ProcessBackend, 0, nil},
		{"pid", 0, nil, PID, ProcessBackend, 0, nil},
		{"pid without launcher", 0, unsupported, PID, ProcessBackend, 0, errors.ErrUnsupported},
		{"pid of a Set with pid and time", PID | Time, nil, PID, ProcessBackend, PID, nil},
		{"time and user", 0, nil, Time | User, ProcessBackend, 0, nil},
		{"time of a Set with time", Time | Net, nil, Time, ProcessBackend, Time, nil},
		{"net of a Set with pid and time", PID | Time, nil, Net, ThreadBackend, 0, nil},
	} {
		p := planUnshare(&facts{types: c.foreign, foreign: c.foreign, process: c.process}, c.types, 0, false)
		if !errors.Is(p.err, c.err) || c.err == nil && p.err != nil {
			t.Errorf("%s: %v, want %v", c.name, p.err, c.err)
		}
		if p.backend != c.backend || p.join != c.join {
			t.Errorf("%s: %s after joining %v, want %s, %v", c.name, p.backend, p.join, c.backend, c.join)
		}
	}
	// A fresh /proc shows the pid namespace that is made along with it, else the Set's.
	for _, c := range []struct {
		foreign, types Type
		backend        Backend
		join           Type
	}{
		{0, Mount, ThreadBackend, 0},
		{Net | UTS, Mount, ThreadBackend, 0},
		{0, Mount | PID, ProcessBackend, 0},
		{PID, Mount, ProcessBackend, PID},
		{PID | Mount, Mount | PID, ProcessBackend, PID | Mount},
	} {
		p := planUnshare(&facts{types: c.foreign, foreign: c.foreign}, c.types, PID, false)
		if p.err != nil || p.backend != c.backend || p.join != c.join {
			t.Errorf("%v of a Set with %v, with /proc: %+v, want %s after joining %v", c.types, c.foreign, p, c.backend, c.join)
		}
	}
}

// Where others see what is in a pid namespace, this program's files are not for them.
func TestHostFilesAreRefused(t *testing.T) {
	for _, c := range []struct {
		name            string
		foreign, opened Type
		copied, meant   bool
		refused         bool // a function and a command
		unshare         Type // makes this
		unshareRefused  bool
		join            Type
	}{
		{"theirs, all", User | PID | Mount, User | PID | Mount, false, false, false, PID, false, User | PID | Mount},
		{"theirs, without mnt", User | PID, User | PID, false, false, true, PID, true, 0},
		{"meant", User | PID, User | PID, false, true, false, PID, false, User | PID},
		{"with a copy", User | PID | Mount, User | PID | Mount, true, false, true, PID, true, 0},
		{"nothing is put there", User | PID, User | PID, false, false, true, Net, false, User},
		{"one's own", User | PID, 0, false, false, false, PID, false, User | PID},
		{"one's own below theirs", User | PID, User, false, false, false, PID, false, User | PID},
		{"no pid", User | Net, User | Net, false, false, false, PID, false, User},
	} {
		f := &facts{types: c.foreign, foreign: c.foreign, opened: c.opened, hostFiles: c.foreign&Mount == 0 || c.copied, depth: 1}
		d := decide(f, work{hostFiles: c.meant})
		if c.refused != errors.Is(d.err, errHostFiles) || !c.refused && d.err != nil {
			t.Errorf("%s: a function: %v", c.name, d.err)
		}
		if r := plan(f, work{hostFiles: c.meant}); c.refused != (r.Err != nil) {
			t.Errorf("%s: the plan says %v", c.name, r)
		}
		if d := decide(f, work{closure: true}); errors.Is(d.err, errHostFiles) {
			t.Errorf("%s: a closure, which is never in there: %v", c.name, d.err)
		}
		p := planUnshare(f, c.unshare, 0, c.meant)
		if c.unshareRefused != errors.Is(p.err, errHostFiles) || !c.unshareRefused && p.join != c.join {
			t.Errorf("%s: making %v: %+v", c.name, c.unshare, p)
		}
	}
}

func TestPlanString(t *testing.T) {
	show := func(f *facts, w work) string { return plan(f, w).String() }
	userNet := &facts{types: User | Net, foreign: User | Net, depth: 1}
	userNet.level[Net.index()] = 1
	for _, c := range []struct {
		f    *facts
		w    work
		want string
	}{
		{&facts{}, work{closure: true}, "thread: join nothing; the thread is given back; a closure cannot leave this process"},
		{&facts{types: Net}, work{}, "thread: join nothing; the thread ends with the work; every namespace of the Set is one that this process is in already"},
		{&facts{types: Net | Mount, foreign: Net | Mount}, work{closure: true}, "thread: join net, mnt; the thread ends with the work; a closure cannot leave this process"},
		{&facts{types: Net | UTS, foreign: Net | UTS}, work{closure: true}, "thread: join net, uts; the thread is given back; a closure cannot leave this process"},
		{userNet, work{}, "process: join user, net; user: no thread of a Go program can enter it"},
		{userNet, work{closure: true}, "refused: gonso: setns user: no thread of a Go program can enter it (register the function with gonso.Register and call it with Func.Do, which runs it in a process inside)"},
		{&facts{types: Mount, foreign: Mount}, work{}, "process: join mnt; mnt: a thread in a foreign mnt namespace would fill this process's caches (certificates, resolver, time zone, users) from it"},
	} {
		if got := show(c.f, c.w); got != c.want {
			t.Errorf("%q\nwant %q", got, c.want)
		}
	}
	p := Plan{Set: "{net:[1]}", Closures: plan(&facts{}, work{closure: true}), Functions: plan(&facts{}, work{})}
	if lines := strings.Split(p.String(), "\n"); len(lines) != 3 || lines[0] != "{net:[1]}" ||
		!strings.HasPrefix(lines[1], "  closures:  thread") || !strings.HasPrefix(lines[2], "  functions: thread") {
		t.Errorf("%q", p.String())
	}
	for r := range reasonText {
		if reasonText[r] == "" {
			t.Errorf("reason %d has no text", r)
		}
	}
}
