package gonso

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/reexec"
)

// exposed reports whether others may read what a program in the Set is given.
func (s *Set) exposed() bool {
	c := s.get()
	return c.exposes(c.foreign)
}

func (s *Set) reducedEnv() []string { return reexec.Environment(true) }

func (c *Cmd) start(failing func()) error {
	core, err := c.set.acquire("start")
	if err != nil {
		return c.abandon(err)
	}
	done, err := c.startIn(core, failing)
	if done != nil {
		done()
	}
	if err != nil {
		core.release()
		return err
	}
	c.release = core.release
	return nil
}

// startIn starts the program; done is for what only that needs,
// failing is called before what was begun is waited for.
func (c *Cmd) startIn(core *core, failing func()) (done func(), err error) {
	e := c.environment()
	env := e.Environ()
	for _, kv := range e.Env {
		if strings.IndexByte(kv, 0) >= 0 {
			return nil, c.abandon(errors.New("exec: environment variable contains NUL"))
		}
	}
	if env == nil {
		env = []string{} // nil would be this process's
	}
	g := &reexec.Program{
		Protect: core.exposes(core.foreign), KeepIDs: c.KeepIDs,
		Failing: failing,
		Name:    c.Path, Exe: c.Exe, Dir: c.Dir, Chroot: c.Attr.Chroot,
		Setsid: c.Attr.Setsid, Setpgid: c.Attr.Setpgid, Setctty: c.Attr.Setctty, Ctty: c.Attr.Ctty,
		AmbientCaps: c.Attr.AmbientCaps, Cgroup: c.Attr.Cgroup,
	}
	if cr := c.Attr.Credential; cr != nil {
		g.Credential = &reexec.Credential{UID: cr.UID, GID: cr.GID, Groups: cr.Groups, KeepGroup: cr.NoSetGroups}
	}
	if sig := c.Attr.Pdeathsig; sig != nil {
		n, ok := sig.(syscall.Signal)
		if !ok {
			return nil, c.abandon(newError("start", 0, "", errors.New("a Pdeathsig that is not a syscall.Signal")))
		}
		g.Pdeathsig = n
	}
	done = func() {}
	switch {
	case c.self:
		if g.Exe, done, err = reexec.OpenSelf(g.Protect); err != nil {
			return nil, c.abandon(newError("start", 0, "", err))
		}
		env = append(env, selfEnv+"=1")
	case c.Exe != nil:
	case strings.Contains(c.Path, "/"):
		g.Paths = []string{c.Path}
	default:
		g.Search, g.Paths = true, lookIn(env, c.Path)
	}
	c.inner.Env = env
	g.Join = core.joins(core.foreign)
	err = programError(g.Start(c.ctx, c.inner))
	var refusal *Error
	if g.Exe != nil && core.foreign&Mount != 0 && errors.Is(err, fs.ErrNotExist) && errors.As(err, &refusal) {
		refusal.Hint = "if it is dynamically linked, its loader is missing inside: build it with CGO_ENABLED=0"
	}
	return done, err
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
