package reexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/sys"
)

// Program is a user's program. It is started in namespaces and takes the place of the launcher,
// with no process in between.
type Program struct {
	Join    []Join
	Protect bool // as for Creation
	KeepIDs bool // as for WorkerOptions

	// Name is for errors. Paths are tried inside, one after the other, until one exists and can be
	// executed. With Exe they are not tried.
	Name   string
	Paths  []string
	Search bool     // Paths come from a search: the error is from package exec
	Exe    *os.File // to be executed, from outside; belongs to the caller

	Dir, Chroot string     // inside; empty leaves them
	DirFile     *os.File   // in place of Dir, from outside; belongs to the caller
	KeepDir     string     // if none of the three is set: the working directory, if it exists inside
	Files       []*os.File // the program's descriptors from 3 on; nil ones are closed

	// KeepSession leaves the program the session of this process, even if somebody else may be root
	// inside.
	KeepSession bool

	Setsid, Setpgid bool
	Setctty         bool
	Ctty            int // the program's descriptor
	Credential      *Credential
	AmbientCaps     []uintptr
	Capabilities    *Capabilities
	NoNewPrivs      bool
	Umask           *int
	Rlimits         []Rlimit
	OOMScoreAdj     *int
	Pdeathsig       syscall.Signal
	Cgroup          *os.File

	own    own
	raised []Rlimit // the Rlimits that need a privilege
	bound  uint64   // the bounding set that the launcher has when it becomes the program
	// manyFiles is the hard limit of open files, if the program's descriptors may be above the soft
	// limit. Package exec goes by the hard limit, too: a Go program raises its soft limit to the
	// hard one, and puts it back in the programs that it executes.
	manyFiles uint64
}

// fewFiles are below every limit.
const fewFiles = 8

// Credential is like syscall.Credential. The ids are ids inside.
type Credential struct {
	UID, GID  uint32
	Groups    []uint32
	KeepGroup bool // leave the supplementary groups as they are
}

// errSlow is bounded by defaultStartTimeout.
var errSlow = errors.New("the program was not executed within " + defaultStartTimeout.String() + ": its file system may not answer")

// Prepared is a Program that is ready to start. Its process is started with the program's
// arguments, environment and streams.
type Prepared struct {
	Path  string
	Files []*os.File // from descriptor 3 on
	Sys   *syscall.SysProcAttr

	program  *Program
	steps    *launch
	launcher *launcher.Prepared
}

// Prepare makes the program ready to start, once. Its files must stay open until the start. A
// Prepared must be closed, started or not.
func (g *Program) Prepare(ctx context.Context) (*Prepared, error) {
	if handshake.Pending() {
		return nil, errSecondGeneration
	}
	if g.Search && len(g.Paths) == 0 {
		return nil, &SearchError{Name: g.Name}
	}
	g.own = lookAtOwn(ctx, g.Protect)
	if len(g.Files) > fewFiles {
		var limit unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil {
			g.manyFiles = limit.Max
		}
	}
	g.lookAtAttrs()
	lent := sys.Lendable()
	steps := composeProgram(g, uint64(permitted(lent)))
	if steps.refused != nil {
		return nil, steps.refused
	}
	all := append(files(g.Join), g.Files...)
	if g.Exe != nil {
		all = append(all, g.Exe)
	}
	if g.DirFile != nil {
		all = append(all, g.DirFile)
	}
	l, err := launcher.Prepare(&steps.List, all)
	if err != nil {
		return nil, err
	}
	attr := &syscall.SysProcAttr{AmbientCaps: lent.List()}
	if g.Cgroup != nil && !g.moved() {
		attr.UseCgroupFD, attr.CgroupFD = true, int(g.Cgroup.Fd())
	}
	return &Prepared{l.Path, l.Files, attr, g, steps, l}, nil
}

// permitted are the capabilities that the launcher has: the lent ones, or root's.
func permitted(lent sys.CapSet) sys.CapSet {
	if lent != 0 {
		return lent
	}
	caps, _ := sys.ThreadCaps() // if it fails, there are no capabilities to keep
	return caps.Permitted
}

// moved reports whether the launcher must wait until it is moved to the cgroup. clone3 would make
// it there, but a filter may forbid that call.
func (g *Program) moved() bool { return g.Cgroup != nil && g.own.forbids.clone3 }

// Close releases the files for the start.
func (p *Prepared) Close() { p.launcher.Close() }

// Follow waits until the program has taken the place of the launcher, and returns the program's
// process. In a pid namespace this is another process than the started one. After an error it
// returns the process that is left: the caller must kill it and wait for it.
func (p *Prepared) Follow(ctx context.Context, started *os.Process) (*os.Process, error) {
	l, err := p.launcher.Started(started)
	if err != nil {
		return started, err
	}
	defer l.Close()
	if g := p.program; g.moved() {
		if err = joinCgroup(g.Cgroup, l.Pid, "Cgroup"); err == nil {
			err = l.Continue()
		}
		if err != nil {
			return l.Process, err
		}
	}
	err = p.follow(ctx, l)
	return l.Process, err
}

func (p *Prepared) follow(ctx context.Context, l *launcher.Process) error {
	ctx, cancel := sys.WithTimeout(ctx, defaultStartTimeout, errSlow)
	defer cancel()
	if p.steps.forks {
		if err := l.Follow(ctx); err != nil {
			return p.steps.ended(l, "starting the program", err)
		}
	}
	g := p.program
	// The pipe also closes when a filter kills the launcher: exec is what closes it from here on.
	if err := l.Next(ctx); err != nil {
		return p.steps.ended(l, "starting the program", err)
	}
	var room [16]unix.Errno // enough for most, without an allocation
	failed := room[:0]
	for tried := 0; ; tried++ {
		result, err := l.NextValue(ctx)
		if opened := result; err == nil && g.outside() {
			if result, err = l.NextValue(ctx); opened < 0 {
				result = opened
			}
		}
		switch {
		case err == nil:
			failed = append(failed, unix.Errno(-result))
		case !errors.Is(err, io.EOF):
			return p.steps.ended(l, "starting the program", err)
		case tried < len(g.Paths) || g.Exe != nil:
			return nil // exec closed the pipe
		case !g.Search:
			return &LaunchError{Op: "exec", Path: g.Name, Step: "execve", Err: failed[len(failed)-1]}
		default:
			return g.notFound(failed)
		}
	}
}

// SearchError says that a program was not found at any Place. It matches exec.ErrNotFound. If the
// kernel gave another error for a Place, it also matches that error.
type SearchError struct {
	Name   string
	Places []Place
}

// Place is a path that was tried, and the kernel's error.
type Place struct {
	Path string
	Err  unix.Errno
}

func (g *Program) notFound(failed []unix.Errno) *SearchError {
	e := &SearchError{Name: g.Name}
	for i, errno := range failed[:min(len(failed), len(g.Paths))] {
		e.Places = append(e.Places, Place{g.Paths[i], errno})
	}
	return e
}

// Denied returns the places for which the kernel has refused permission.
func (e *SearchError) Denied() (places []Place) {
	for _, p := range e.Places {
		if p.Err == unix.EACCES {
			places = append(places, p)
		}
	}
	return places
}

func (e *SearchError) Error() string {
	err := exec.ErrNotFound
	for _, p := range e.Denied() {
		err = fmt.Errorf("%w; %s: %w", err, p.Path, p.Err)
	}
	return (&exec.Error{Name: e.Name, Err: err}).Error()
}

// Unwrap returns exec.ErrNotFound, too.
func (e *SearchError) Unwrap() []error {
	errs := []error{&exec.Error{Name: e.Name, Err: exec.ErrNotFound}}
	for _, p := range e.Denied() {
		errs = append(errs, p.Err)
	}
	return errs
}

// outside reports whether paths lead to this process's mounts while somebody else is root of the
// user namespace. That root may have registered interpreters there (binfmt_misc, Linux 6.7). They
// come from that root's own mounts, and would run in these. So the file is executed by a descriptor
// that exec closes: the kernel gives that to no interpreter.
func (g *Program) outside() bool {
	return g.Protect && g.Exe == nil && joinsType(g.Join, newUser) && !joinsType(g.Join, unix.CLONE_NEWNS)
}

const handedOn = "it is there, but the kernel would hand it to an interpreter, and the Set's user namespace is somebody else's, " +
	"who may have registered one (binfmt_misc); of a script, run the interpreter by its own name"

// composeProgram joins namespaces and becomes the program. Its descriptors are the namespaces, its
// files, and the executable if there is one.
func composeProgram(g *Program, own uint64) *launch {
	l := newLaunch()
	user := joinsType(g.Join, newUser)
	top := launcher.FirstFileFD + launcher.FD(len(g.Join)+len(g.Files))
	if g.Exe != nil {
		top++
	}
	dir := top
	if g.DirFile != nil {
		top++
	}
	raise, putBack := func() {}, func() {}
	if g.manyFiles > 0 { // first: descriptors that later steps open come after the files
		limit := l.Keep(unix.RLIMIT_NOFILE, g.manyFiles)
		raise, putBack = limit.Raise, limit.PutBack
	}
	raise()
	if g.limits(unix.RLIMIT_NOFILE) {
		raise = func() {} // the limit is the program's, and once it is lowered nothing may raise it again
		putBack = func() {}
	}
	putBack = l.limitLast(g, putBack)
	leads := g.Setsid || g.Protect && !g.KeepSession
	l.cross(crossing{own: g.own, user: user, protect: g.Protect, top: top, session: leads, oomScoreAdj: g.OOMScoreAdj, hold: g.moved()})
	l.limitFirst(g)
	l.enter(g.Join, launcher.FirstFileFD, g.KeepIDs)
	if leads && (l.forks || !g.Protect) {
		l.of("Setsid", func() { l.Setsid() }) // only here: in a pid namespace the program is a child
	}
	if g.Setpgid && (g.Setsid || !leads) { // a session's leader has its own group already
		l.of("Setpgid", func() { l.Setpgid() })
	}
	if g.Chroot != "" {
		l.of("Chroot", func() { l.chroot(g.Join, g.Chroot) })
	}
	if user {
		own = allCaps
	}
	if g.KeepDir != "" {
		l.TryChdir(g.KeepDir) // before become: an inherited directory needs no permission
	}
	l.giveBack(g.own, user, g.Protect)
	l.become(g, own)
	if g.Umask != nil {
		l.of("Umask", func() { l.Umask(*g.Umask) })
	}
	switch {
	case g.Dir != "":
		l.of("Dir", func() { l.chdir(g.Join, g.Dir) })
	case g.DirFile != nil:
		l.of("DirFile", func() { l.paths[l.Fchdir(dir).Index()] = g.DirFile.Name() })
	case g.Chroot != "":
		l.Chdir("/") // an open directory may be on another mount
	}
	if g.DirFile != nil {
		l.Close(dir)
	}
	exe := l.arrange(len(g.Join), g.Files, g.Exe != nil)
	if g.Setctty {
		l.of("Ctty", func() { l.SetTerminal(launcher.FD(g.Ctty)) })
	}
	if g.Pdeathsig != 0 { // late: changing ids takes it back
		l.of("Pdeathsig", func() { l.Prctl(unix.PR_SET_PDEATHSIG, int(g.Pdeathsig)) })
	}
	if g.NoNewPrivs {
		l.of("NoNewPrivs", func() { l.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1) })
	}
	if !g.outside() {
		putBack()
	}
	l.Sync() // without it, the end of the pipe is no exec
	if g.Exe != nil {
		l.execute(exe, g.Name, g.Protect)
		return l
	}
	for i, path := range g.Paths {
		if g.outside() {
			if i > 0 {
				raise()
			}
			open := l.TryOpen(path)
			l.Send(open)
			putBack()
			try := l.TryExecveat(open)
			l.paths[open.Index()], l.paths[try.Index()], l.shut[try.Index()] = path, path, handedOn
			l.Send(try)
			continue
		}
		try := l.Try(path)
		l.paths[try.Index()] = path
		l.Send(try)
	}
	l.ExitGroup(127)
	return l
}

// become takes on the ids and capabilities that were asked for.
//
// A process that is not root afterwards has only the ambient capabilities asked for, from here on.
// The kernel takes away the others with the last id 0 (capabilities(7)). It does not do so where 0
// is not mapped: the process never had that id, and joinUser has made all capabilities ambient.
// From here on, paths are looked up with the new ids, as by os/exec.
func (l *launch) become(g *Program, own uint64) {
	if g.Capabilities != nil {
		l.bound(g.Capabilities.Bounding, g.bound)
	}
	if len(g.AmbientCaps) > 0 || g.Capabilities != nil {
		l.Prctl(unix.PR_SET_KEEPCAPS, 1)
	}
	var raised uint64
	for _, c := range g.AmbientCaps {
		raised |= 1 << (c & 63)
	}
	others := g.Credential != nil && g.Credential.UID != 0
	if others {
		own = 0
	}
	if c := g.Credential; c != nil {
		if !c.KeepGroup {
			l.of("Credential", func() { l.SetgroupsTo(c.Groups) })
		}
		l.of("Credential", func() {
			l.Setresgid(int(c.GID))
			l.Setresuid(int(c.UID))
		})
	}
	if g.Capabilities != nil {
		l.setCapabilities(g.Capabilities)
		return
	}
	if others || len(g.AmbientCaps) > 0 {
		l.of("AmbientCaps", func() { l.Capset(own|raised, own|raised, raised) })
	}
	for _, c := range g.AmbientCaps {
		l.of("AmbientCaps", func() { l.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, int(c)) })
	}
}

// arrange makes files the program's descriptors from 3 on, and closes the rest. exec closes the
// executable and the status pipe.
func (l *launch) arrange(joins int, files []*os.File, hasExe bool) (exe launcher.FD) {
	exe = launcher.FirstFileFD + launcher.FD(joins+len(files))
	top := exe
	if hasExe {
		top++
	}
	l.MoveStatus(top)
	const first = launcher.ControlFD
	for i, f := range files {
		to := first + launcher.FD(i)
		if f == nil {
			l.Close(to).Tolerate(unix.EBADF)
		} else {
			l.Dup3(launcher.FirstFileFD+launcher.FD(joins+i), to, 0)
		}
	}
	for fd := first + launcher.FD(len(files)); fd < exe; fd++ {
		l.Close(fd).Tolerate(unix.EBADF)
	}
	if hasExe {
		l.Cloexec(exe)
	}
	return exe
}
