package gonso

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/reexec"
)

// exposed reports whether others may read what a program in the Set is given.
func (s *Set) exposed() bool {
	c := s.get()
	return c.exposes(c.foreign)
}

// onThreadAtHome runs f where a path is what it is to this process: what a child executes is found by
// one, and so are the files of /dev that exec.Cmd opens.
func (c *Cmd) onThreadAtHome(f func()) {
	if c.Pdeathsig != nil && c.Err == nil && procfs.Away() {
		c.Err = newError("start", 0, "", errPdeathsig)
	}
	procfs.AtHome(f)
}

var errPdeathsig = fmt.Errorf("%s: the calling thread is in a foreign mnt namespace or has a root of its own, and another thread would be the one whose end counts; start the command outside of the closure", "Pdeathsig")

// apart reports whether the program has a process group of its own.
func (c *Cmd) apart() bool {
	return c.Setsid || c.Setpgid || !c.KeepSession && c.set.exposed()
}

func (s *Set) reducedEnv() []string { return reexec.Environment(true) }

// prepareInside holds the Set and prepares a launcher that goes there.
func (c *Cmd) prepareInside() (prepared, error) {
	core, err := c.set.acquire("start")
	if err != nil {
		return prepared{}, err
	}
	c.release = core.release
	if err := core.intact("start"); err != nil {
		return prepared{}, err
	}
	protect := core.exposes(core.foreign)
	if err := core.facts().refuseHostFiles("start", core.foreign, c.HostFiles, "Cmd.HostFiles"); err != nil {
		return prepared{}, err
	}
	if c.KeepIDs {
		if err := core.refuseUnmapped("start", "Cmd.KeepIDs"); err != nil {
			return prepared{}, err
		}
	}
	env, err := c.programEnv()
	if err != nil {
		return prepared{}, err
	}
	g := &reexec.Program{
		Join: core.joins(core.foreign), Protect: protect, KeepIDs: c.KeepIDs,
		Name: c.Path, Exe: c.Exe, Dir: c.Dir, Chroot: c.Chroot, Files: c.ExtraFiles,
		KeepSession: c.KeepSession, Setsid: c.Setsid, Setpgid: c.Setpgid, Setctty: c.Setctty, Ctty: c.Ctty,
		AmbientCaps: c.AmbientCaps, Cgroup: c.Cgroup,
	}
	if cr := c.Credential; cr != nil {
		g.Credential = &reexec.Credential{UID: cr.UID, GID: cr.GID, Groups: cr.Groups, KeepGroup: cr.NoSetGroups}
	}
	if c.Pdeathsig != nil {
		var ok bool
		if g.Pdeathsig, ok = c.Pdeathsig.(syscall.Signal); !ok {
			return prepared{}, newError("start", 0, "", errors.New("a Pdeathsig that is not a syscall.Signal"))
		}
	}
	done := func() {}
	switch {
	case c.self:
		if g.Exe, done, err = reexec.OpenSelf(protect); err != nil {
			return prepared{}, newError("start", 0, "", err)
		}
		env = append(env, selfEnv+"=1")
	case c.Exe != nil && protect:
		if g.Exe, done, err = reexec.CopyExe(c.ctx, c.Exe); err != nil {
			return prepared{}, newError("start", 0, "", fmt.Errorf("%s: %w", "Exe", err))
		}
	case c.Exe != nil:
	case strings.Contains(c.Path, "/"):
		g.Paths = []string{c.Path}
	default:
		g.Search, g.Paths = true, lookIn(env, c.Path)
	}
	if protect && g.Exe != nil && !c.DynamicLoader && (core.foreignRoot() || c.Chroot != "") {
		if err := reexec.CheckStatic(g.Exe); err != nil {
			done()
			return prepared{}, newError("start", 0, "", fmt.Errorf("Cmd.DynamicLoader is not set: %s: %w", c.Path, err))
		}
	}
	p, err := g.Prepare()
	if err != nil {
		done()
		return prepared{}, programError(err)
	}
	return prepared{
		path: p.Path, files: p.Files, env: env, sys: p.Sys,
		start: func(start func() error) error { return programError(reexec.CloneInto(c.Cgroup, start)) },
		follow: func(started *os.Process) (*os.Process, error) {
			process, err := p.Follow(c.ctx, started)
			if le, ok := errors.AsType[*reexec.LaunchError](err); ok && le.Option != "" {
				return process, core.optionError("start", "Cmd", le, g)
			}
			err = programError(err)
			var refusal *Error
			if g.Exe != nil && core.foreign&Mount != 0 && errors.Is(err, fs.ErrNotExist) && errors.As(err, &refusal) {
				refusal.Hint = "if it is dynamically linked, its loader is missing inside: build it with CGO_ENABLED=0"
			}
			return process, err
		},
		done: func() {
			p.Close()
			done()
		},
	}, nil
}

// programEnv is the environment, which must not be nil: that would be this
// process's.
func (c *Cmd) programEnv() ([]string, error) {
	e := c.environment()
	for _, kv := range e.Env {
		if strings.IndexByte(kv, 0) >= 0 {
			return nil, errors.New("exec: environment variable contains NUL")
		}
	}
	return append([]string{}, e.Environ()...), nil
}

// lookIn lists where a name may be, each place once. Relative directories are
// left out, as package exec refuses what it finds there, and names that are too long
// to be anything: there the search goes on.
func lookIn(env []string, name string) (paths []string) {
	path := os.Getenv("PATH")
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	seen := make(map[string]bool)
	for _, dir := range filepath.SplitList(path) {
		p := filepath.Join(dir, name)
		if filepath.IsAbs(dir) && !seen[p] && !tooLong(p) {
			seen[p] = true
			paths = append(paths, p)
		}
	}
	return paths
}

// tooLong is what the kernel answers ENAMETOOLONG to.
func tooLong(path string) bool {
	if len(path) >= unix.PathMax {
		return true
	}
	for part := range strings.SplitSeq(path, "/") {
		if len(part) > unix.NAME_MAX {
			return true
		}
	}
	return false
}

// programError tells what namespaces refuse from what is wrong with a file.
func programError(err error) error {
	var le *reexec.LaunchError
	if hint := launchHint(err); hint != "" { // EAGAIN
		if errors.As(err, &le) && le.Path != "" {
			err = &fs.PathError{Op: "exec", Path: le.Path, Err: le.Err}
		}
		return newError("start", 0, "", err).withHint(hint)
	}
	switch {
	case !errors.As(err, &le):
		return err
	case le.Path != "" && le.Type == 0:
		op := le.Op
		if op == "execve" || op == "execveat" {
			op = "exec"
		}
		return newError("start", 0, "", &fs.PathError{Op: op, Path: le.Path, Err: le.Err})
	case le.Type == 0:
		return newError(le.Op, 0, "", le.Err)
	}
	return launchError(0, err)
}
