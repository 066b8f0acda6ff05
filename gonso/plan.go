package gonso

import (
	"fmt"
	"os"
	"strings"

	"github.com/gonso/gonso/internal/sys"
)

// This file picks the backend and decides the order of joining. It is pure: it makes decisions from
// facts, without system calls, and is tested on every system.
//
// A Go program always has more than one thread. One of its threads can do this:
//
//	type              made   entered                  given back
//	cgroup, net, uts  yes    yes                      yes, setns to home
//	ipc               yes    yes                      no: setns leaves the process's shared SysV undo list
//	mnt               yes    yes, for one goroutine   no: CLONE_FS, once unshared, cannot be shared again
//	pid               no     children land inside     yes
//	time              no     no: EUSERS               -
//	user              no     no: EINVAL               -
//
// It could make pid and time namespaces for its children, but they are of no use. A pid namespace
// needs an init. Clock offsets must be written before the first child starts, and only /proc/PID
// has the file for them, not the directory of a thread.
const (
	threadMakes    = Cgroup | IPC | Mount | Net | UTS
	threadEnters   = Cgroup | IPC | Mount | Net | UTS | PID
	threadGoesHome = Cgroup | Net | UTS | PID
)

// Backend is one of the two mechanisms that run work in a Set.
type Backend string

// The backends.
const (
	ThreadBackend  Backend = "thread"  // a locked thread of this process
	ProcessBackend Backend = "process" // this program, started again inside
)

// facts are the facts that the planner knows about a Set.
type facts struct {
	types   Type  // in the Set
	foreign Type  // the types of the Set that are not home
	process error // why there is no process backend here, or nil

	// For a foreign User. depth is how many levels the Set's user namespace is below this
	// process's own. level is the level from which each other namespace is joined.
	depth int
	level [numTypes]int

	opened    Type // somebody else made these
	noWayHome Type // a thread that has left home in these may not go back; only Plan knows it
	hostFiles bool // the Set's mnt namespace is this program's, or a copy of it
}

// levelUnknown: the kernel did not say which user namespace owns the namespace.
const levelUnknown = -1

// work has the facts that the planner knows about a piece of work.
type work struct {
	closure          bool // not registered: cannot go to a process
	startsGoroutines bool
	inThread         bool
	inProcess        bool
	hostFiles        bool // Worker.HostFiles
}

// reason is why a decision fell as it did.
type reason uint8

const (
	becauseNothingForeign reason = iota
	becauseThreadEnters
	becauseAsked
	becauseClosure
	becauseNoThreadEnters
	becausePIDMeansInside
	becauseMountCaches
	becauseGoroutines
	becauseNoProcess
)

var reasonText = [...]string{
	becauseNothingForeign: "every namespace of the Set is one that this process is in already",
	becauseThreadEnters:   "a thread can enter every foreign namespace of the Set",
	becauseAsked:          "the caller asked for it",
	becauseClosure:        "a closure cannot leave this process",
	becauseNoThreadEnters: "no thread of a Go program can enter it",
	becausePIDMeansInside: "on a thread only children would land in the pid namespace; in a process the work itself is inside",
	becauseMountCaches:    "a thread in a foreign mnt namespace would fill this process's caches (certificates, resolver, time zone, users) from it",
	becauseGoroutines:     "goroutines started by the work would not be inside on a thread",
	becauseNoProcess:      "there is no process backend here",
}

// decision is the planner's answer. about has the types that forced it.
type decision struct {
	backend Backend
	why     reason
	about   Type
	err     error
}

// decide picks the backend. It is the only place that does.
func decide(f *facts, w work) decision {
	noThread := f.foreign &^ threadEnters
	if w.closure || w.inThread {
		why := becauseAsked
		if w.closure {
			why = becauseClosure
		}
		switch {
		case noThread != 0:
			return decision{ThreadBackend, why, noThread, needsProcess(noThread, w)}
		case w.startsGoroutines && f.foreign != 0:
			return decision{ThreadBackend, why, f.foreign, newError("run", f.foreign, "", ErrNeedsProcess).
				withHint("the function was registered with StartsGoroutines, and goroutines do not stay on the thread that InThread asks for")}
		}
		return decision{backend: ThreadBackend, why: why}
	}
	d := decision{backend: ProcessBackend}
	switch {
	case w.inProcess:
		d.why = becauseAsked
	case f.foreign == 0:
		return decision{backend: ThreadBackend, why: becauseNothingForeign}
	case noThread != 0:
		d.why, d.about = becauseNoThreadEnters, noThread
	case f.foreign&PID != 0:
		d.why, d.about = becausePIDMeansInside, PID
	case f.foreign&Mount != 0:
		d.why, d.about = becauseMountCaches, Mount
	case w.startsGoroutines:
		d.why, d.about = becauseGoroutines, f.foreign
	default:
		return decision{backend: ThreadBackend, why: becauseThreadEnters}
	}
	if f.process != nil {
		d.err = newError("run", f.foreign, "", f.process)
	} else {
		d.err = f.refuseHostFiles("run", f.foreign, w.hostFiles, "Worker.HostFiles")
	}
	return d
}

var errHostFiles = sys.Wrap("a process in this pid namespace, which is somebody else's, would show them the files of this program", os.ErrInvalid)

// refuseHostFiles refuses to put a process with this program's files into a pid namespace of
// somebody else. Others there could read all of these files below /proc/PID/root. If meant is true,
// the caller has set the option that allows this.
func (f *facts) refuseHostFiles(op string, join Type, meant bool, option string) error {
	if f.opened&join&PID == 0 || !f.hostFiles || meant {
		return nil
	}
	return newError(op, PID, "", fmt.Errorf("%s: %w", option, errHostFiles)).
		withHint("open the Mount namespace of those inside along with PID, as FromPID does, or set " + option + " if they may have the files")
}

func needsProcess(types Type, w work) error {
	remedy := "leave InThread out, and it runs in a process inside"
	if w.closure {
		remedy = "register the function with gonso.Register and call it with Func.Do, which runs it in a process inside"
	}
	return newError("setns", types, "", ErrNeedsProcess).withHint(remedy)
}

// restorable reports whether a thread that entered these types can be put back.
func restorable(entered Type) bool { return entered&^threadGoesHome == 0 }

// threadOrder is the order in which a thread enters namespaces. mnt comes last, because after it
// the thread cannot go home any more. If an earlier step fails, the thread still can.
func threadOrder(foreign Type) []Type {
	order := singles(foreign &^ Mount)
	if foreign&Mount != 0 {
		order = append(order, Mount)
	}
	return order
}

// join is one setns of a process that is being started.
type join struct {
	typ Type
	// level numbers the user namespaces, from this process's own (0) down to the Set's
	// (facts.depth). For other types it is the user namespace from which the type is joined.
	level int
	// For a namespace whose owner is not known. mayFail marks the first try, before any user
	// namespace is joined. again marks the second try, which is made if the first was refused.
	mayFail, again bool
}

// processOrder is the order in which a starting process joins namespaces.
//
// A process that joins a user namespace gets all capabilities in it, and loses its capabilities
// outside. To join any other namespace it needs CAP_SYS_ADMIN in its own user namespace and in the
// one that owns the namespace (setns(2)). So the process joins user namespaces one by one, down to
// the Set's. It joins each other namespace from the user namespace that owns it. If the owner is
// not on this way, it joins from the owner's nearest ancestor on the way. It leaves out user
// namespaces in between from which nothing is joined.
func processOrder(f *facts) []join {
	var order []join
	add := func(want int, proto join) bool {
		from := len(order)
		for _, t := range threadOrder(f.foreign &^ User) {
			if f.level[t.index()] == want {
				proto.typ = t
				order = append(order, proto)
			}
		}
		return len(order) > from
	}
	if f.foreign&User == 0 {
		for _, t := range threadOrder(f.foreign) {
			order = append(order, join{typ: t})
		}
		return order
	}
	add(0, join{})
	unknown := add(levelUnknown, join{mayFail: true})
	for level := 1; level <= f.depth; level++ {
		at := len(order)
		if add(level, join{level: level}) || level == f.depth {
			order = append(order[:at], append([]join{{typ: User, level: level}}, order[at:]...)...)
		}
	}
	if unknown {
		add(levelUnknown, join{level: f.depth, again: true})
	}
	return order
}

func singles(types Type) []Type {
	var s []Type
	types.each(func(_ int, t Type) { s = append(s, t) })
	return s
}

// unsharePlan says how new namespaces are made.
type unsharePlan struct {
	backend Backend
	join    Type // of the base Set: joined first, so that the new ones are made from and owned by them
	err     error
}

// planUnshare decides between a thread and the launcher. A thread needs no other process. The
// launcher has a single thread, so it can make and join user namespaces, and it has children.
//
// Only the namespaces that matter to the new ones are joined:
//
//   - the user namespace, because it owns the new ones;
//   - the foreign namespaces whose copies or children the new ones are;
//   - the namespaces that a new procfs or sysfs has to show;
//   - with a foreign pid namespace the mnt namespace, because processes there can see the files of
//     the process that makes the new ones.
func planUnshare(f *facts, types, shown Type, hostFiles bool) unsharePlan {
	p := unsharePlan{backend: ThreadBackend, join: f.foreign & (types | User)}
	p.join |= f.foreign & shown &^ types
	if p.join&PID != 0 {
		p.join |= f.foreign & Mount
	}
	if p.err = f.refuseHostFiles("unshare", p.join, hostFiles, "HostFiles"); p.err != nil {
		return p
	}
	if (types|p.join)&^threadMakes != 0 {
		p.backend = ProcessBackend
		if f.process != nil {
			p.err = newError("unshare", types, "", f.process)
		}
	}
	return p
}

// Route is how work of one kind runs in a Set.
type Route struct {
	Backend Backend
	// Join lists the namespaces that are entered, in order. Namespaces that are home are not in the
	// list.
	Join []Type
	// GivenBack: the thread can go back to the Go scheduler afterwards. If not,
	// it ends with the work, which costs a new thread.
	GivenBack bool
	Why       string
	// Err is the error that a call would return at once, or nil.
	Err error
}

// Plan tells how work runs in a Set. It is for people to read, and promises nothing. Plan runs
// nothing in the Set.
type Plan struct {
	Set      string // the Set, as its String method shows it
	Closures Route  // Set.Do and Set.Run
	// Functions is for a function registered without options. StartsGoroutines
	// sends it to a process, LeavesThreadClean lets its thread be given back.
	Functions Route
}

// String shows the plan in a few lines.
func (p Plan) String() string {
	return fmt.Sprintf("%s\n  closures:  %v\n  functions: %v", p.Set, p.Closures, p.Functions)
}

// String shows the route in a line.
func (r Route) String() string {
	if r.Err != nil {
		return "refused: " + r.Err.Error()
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: ", r.Backend)
	if len(r.Join) == 0 {
		b.WriteString("join nothing")
	} else {
		b.WriteString("join ")
		for i, t := range r.Join {
			if i > 0 {
				b.WriteString(", ")
			}
			b.WriteString(t.String())
		}
	}
	if r.Backend == ThreadBackend {
		if r.GivenBack {
			b.WriteString("; the thread is given back")
		} else {
			b.WriteString("; the thread ends with the work")
		}
	}
	b.WriteString("; ")
	b.WriteString(r.Why)
	return b.String()
}

// plan puts a decision into words.
func plan(f *facts, w work) Route {
	d := decide(f, w)
	r := Route{Backend: d.backend, Err: d.err, Why: reasonText[d.why]}
	if d.about != 0 {
		r.Why = d.about.String() + ": " + r.Why
	}
	if d.backend == ThreadBackend {
		r.Join = threadOrder(f.foreign)
		r.GivenBack = restorable(f.foreign) && f.foreign&f.noWayHome == 0 && w.closure
		return r
	}
	for _, j := range processOrder(f) {
		if !j.again {
			r.Join = append(r.Join, j.typ)
		}
	}
	return r
}
