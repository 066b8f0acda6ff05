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

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/sys"
)

// Program is a program of the user's to be started in namespaces, in the place
// of the launcher: there is no other process in between.
type Program struct {
	Join    []Join
	Protect bool // as for Creation
	KeepIDs bool // as for WorkerOptions

	// Name is for errors. Paths are tried one after the other, inside; the next
	// only where there is nothing to be executed. With Exe they are not.
	Name   string
	Paths  []string
	Search bool     // Paths come from a search: the error is that of package exec
	Exe    *os.File // to be executed, from outside; belongs to the caller

	// Failing is called once before the copying of streams is waited for that was
	// begun for a launch that failed.
	Failing func()

	Dir, Chroot string // inside; empty leaves them

	Setsid, Setpgid bool
	Setctty         bool
	Ctty            int // the program's descriptor
	Credential      *Credential
	AmbientCaps     []uintptr
	Pdeathsig       syscall.Signal
	Cgroup          *os.File
}

// Credential is that of package syscall; ids are those inside.
type Credential struct {
	UID, GID  uint32
	Groups    []uint32
	KeepGroup bool // leave the supplementary groups as they are
}

// errSlow is bounded by DefaultStartTimeout.
var errSlow = fmt.Errorf("the program was not executed within %v: its file system may not answer", DefaultStartTimeout)

// Start starts c inside: its arguments, environment, streams and extra files
// are the program's, everything else is set here. The context of c must not end
// before Start returns. After an error nothing is left of c, which cannot be
// used again.
func (g *Program) Start(ctx context.Context, c *exec.Cmd) (err error) {
	called := false
	defer func() {
		if err != nil && !called { // what it has opened for pipes
			c.Err = err
			err = c.Start()
		}
	}()
	if child.Pending() {
		return errSecondGeneration
	}
	if g.Search && len(g.Paths) == 0 {
		return &exec.Error{Name: g.Name, Err: exec.ErrNotFound}
	}
	extra := c.ExtraFiles
	caps, _ := sys.ThreadCaps() // without, there are none to keep
	l := composeProgram(g, extra, uint64(caps.Permitted))
	cmd := &launcher.Cmd{Args: c.Args, Files: append(files(g.Join), extra...), Sys: &syscall.SysProcAttr{}}
	if len(cmd.Args) == 0 {
		cmd.Args = []string{g.Name}
	}
	if g.Exe != nil {
		cmd.Files = append(cmd.Files, g.Exe)
	}
	if g.Cgroup != nil {
		cmd.Sys.UseCgroupFD, cmd.Sys.CgroupFD = true, int(g.Cgroup.Fd())
	}
	cmd.Starter = func(path string, args []string, attr *os.ProcAttr) (*os.Process, error) {
		called = true
		c.Path, c.Args, c.ExtraFiles, c.SysProcAttr, c.Dir = path, args, attr.Files[3:], attr.Sys, ""
		err := c.Start()
		var pe *os.PathError
		if errors.As(err, &pe) && pe.Path == path { // its arguments are the program's
			pe.Path = g.Name
		}
		return c.Process, err
	}
	p, err := l.start(cmd)
	if err != nil {
		if called && c.Process != nil { // it was killed before it had its list
			g.Failing()
			_ = c.Wait()
		}
		return err
	}
	err = g.follow(ctx, l, p)
	c.Process = p.Process
	if err != nil {
		p.Kill()
		p.Close()
		g.Failing()
		_ = c.Wait()
		return err
	}
	return p.Close()
}

// follow goes along to where the program has taken over.
func (g *Program) follow(ctx context.Context, l *launch, p *launcher.Process) error {
	ctx, cancel := context.WithTimeoutCause(ctx, DefaultStartTimeout, errSlow)
	defer cancel()
	if l.forks {
		if err := p.Follow(ctx); err != nil {
			return l.ended("starting the program", err)
		}
	}
	failed := error(unix.ENOENT)
	for tried := 0; ; tried++ {
		result, err := p.NextValue(ctx)
		switch {
		case err == nil:
			// EACCES says more than that others are not there.
			if errno := unix.Errno(-result); errno == unix.EACCES || !g.Search {
				failed = errno
			}
		case !errors.Is(err, io.EOF):
			return l.ended("starting the program", err)
		case tried < len(g.Paths) || g.Exe != nil:
			return nil // exec closed the pipe
		case !g.Search:
			return &LaunchError{Op: "exec", Path: g.Name, Step: "execve", Err: failed}
		case failed == unix.ENOENT:
			return &exec.Error{Name: g.Name, Err: exec.ErrNotFound}
		default:
			// Package exec says no more than not found.
			return &exec.Error{Name: g.Name, Err: fmt.Errorf("%w; of one place in it: %w", exec.ErrNotFound, failed)}
		}
	}
}

// composeProgram joins namespaces and becomes the program. Its descriptors are
// those of the namespaces, the extra files, and the executable if that is one.
func composeProgram(g *Program, extra []*os.File, own uint64) *launch {
	l := newLaunch()
	user := joinsType(g.Join, newUser)
	l.shield(user, g.Protect, g.Protect)
	l.enter(g.Join, launcher.FirstFileFD, g.KeepIDs)
	if g.Setsid {
		l.Setsid() // here, for what is in a pid namespace is a child
	}
	if g.Setpgid {
		l.Setpgid()
	}
	if g.Chroot != "" {
		l.paths[l.Chroot(g.Chroot).Index()] = g.Chroot
	}
	if user {
		own = 1<<(unix.CAP_LAST_CAP+1) - 1
	}
	l.become(g, own)
	switch {
	case g.Dir != "":
		l.paths[l.Chdir(g.Dir).Index()] = g.Dir
	case g.Chroot != "":
		l.Chdir("/") // or it would be outside
	}
	exe := l.arrange(len(g.Join), extra, g.Exe != nil)
	if g.Setctty {
		l.SetTerminal(launcher.FD(g.Ctty))
	}
	if g.Pdeathsig != 0 { // late: changing ids takes it back
		l.Prctl(unix.PR_SET_PDEATHSIG, int(g.Pdeathsig))
	}
	if g.Exe != nil {
		l.paths[l.Execveat(exe).Tolerate(unix.ENOENT).Index()] = g.Name
		l.paths[l.Execve(fmt.Sprintf("/proc/self/fd/%d", exe)).Index()] = g.Name // TOMOYO, as for workers
		return l
	}
	for _, path := range g.Paths {
		try := l.Try(path)
		l.paths[try.Index()] = path
		l.Send(try)
	}
	l.ExitGroup(127)
	return l
}

// become takes on the ids and capabilities that were asked for.
func (l *launch) become(g *Program, own uint64) {
	if len(g.AmbientCaps) > 0 {
		l.Prctl(unix.PR_SET_KEEPCAPS, 1)
	}
	if c := g.Credential; c != nil {
		if !c.KeepGroup {
			l.SetgroupsTo(c.Groups)
		}
		l.Setresgid(int(c.GID))
		l.Setresuid(int(c.UID))
	}
	if len(g.AmbientCaps) == 0 {
		return
	}
	var raised uint64
	for _, c := range g.AmbientCaps {
		raised |= 1 << (c & 63)
	}
	l.Capset(own|raised, own|raised, raised)
	for _, c := range g.AmbientCaps {
		l.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, int(c))
	}
}

// arrange makes the extra files the program's descriptors from 3 on, and closes
// the rest, but for the executable and the status pipe, which exec closes.
func (l *launch) arrange(joins int, extra []*os.File, hasExe bool) (exe launcher.FD) {
	exe = launcher.FirstFileFD + launcher.FD(joins+len(extra))
	top := exe
	if hasExe {
		top++
	}
	l.CloseRange(top, 0) // what this process leaks to its children
	l.MoveStatus(top)
	const first = launcher.ControlFD
	for i, f := range extra {
		to := first + launcher.FD(i)
		if f == nil {
			l.Close(to).Tolerate(unix.EBADF)
		} else {
			l.Dup3(launcher.FirstFileFD+launcher.FD(joins+i), to, 0)
		}
	}
	for fd := first + launcher.FD(len(extra)); fd < exe; fd++ {
		l.Close(fd).Tolerate(unix.EBADF)
	}
	if hasExe {
		l.Cloexec(exe)
	}
	return exe
}

// Environment is what a program gets if nothing else is said, as a worker does.
func Environment(protect bool) []string { return environment(protect) }

// OpenSelf returns this program, to be executed, and what to do afterwards.
func OpenSelf(protect bool) (f *os.File, done func(), err error) { return thisProgram.open(protect) }
