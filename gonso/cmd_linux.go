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

	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/reexec"
)

// exposed reports whether others inside may read the arguments, environment and files of a program
// in the Set.
func (s *Set) exposed() bool {
	c := s.get()
	return c.exposes(c.foreign)
}

// onThreadAtHome runs f on a thread whose namespaces are this program's own. The child inherits the
// namespaces for the types that the Set does not have. If a closure starts the child, these must
// not be the namespaces of the closure. Paths must be this process's own there, too: by a path
// gonso finds the file that a child executes, and exec.Cmd the files of /dev.
func (c *Cmd) onThreadAtHome(f func()) {
	core, err := c.set.acquire("start")
	if err != nil {
		f() // fails with the same error, and closes the files that it must close
		return
	}
	defer core.release()
	if c.Pdeathsig != nil {
		if away := core.inheritsWrongly(AllTypes); c.Err == nil && away != 0 {
			c.Err = newError("start", away, "", errPdeathsig)
		}
		f()
		return
	}
	if err := core.launchAtHome("start", f); err != nil {
		c.Err = err
		f()
	}
}

var errPdeathsig = sys.Wrap("Pdeathsig", errors.New("the calling thread is in other namespaces than this program, or has a root of its own, and another thread would be the one whose end counts; start the command outside of the closure"))

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
	if err == nil {
		err = c.checkFields()
	}
	if err == nil && core.foreign&User == 0 {
		err = c.checkBounding()
	}
	if err == nil {
		if derr := core.refuseHostDir("DirFile", c.DirFile); derr != nil {
			err = newError("start", 0, "", derr)
		}
	}
	if err != nil {
		return prepared{}, err
	}
	dir, root := c.Dir, c.Chroot
	if root, err = core.absolute("Chroot", root); err == nil && root == "" { // Dir is below Chroot
		dir, err = core.absolute("Dir", dir)
	}
	if err != nil {
		return prepared{}, newError("start", 0, "", err)
	}
	c.atTerminal = c.mayLoseTerminal(core.foreign, protect)
	g := &reexec.Program{
		Join: core.joins(core.foreign), Protect: protect, KeepIDs: c.KeepIDs,
		Name: c.Path, Exe: c.Exe, Dir: dir, DirFile: c.DirFile, Chroot: root, Files: c.ExtraFiles,
		KeepSession: c.KeepSession, Setsid: c.Setsid, Setpgid: c.Setpgid, Setctty: c.Setctty, Ctty: c.Ctty,
		AmbientCaps: c.AmbientCaps, Cgroup: c.Cgroup,
		NoNewPrivs: c.NoNewPrivs, Umask: c.Umask, OOMScoreAdj: c.OOMScoreAdj,
	}
	for _, r := range c.Rlimits {
		g.Rlimits = append(g.Rlimits, reexec.Rlimit(r))
	}
	if s := c.Capabilities; s != nil {
		g.Capabilities = &reexec.Capabilities{
			Bounding: uint64(setOf(s.Bounding)), Effective: uint64(setOf(s.Effective)), Permitted: uint64(setOf(s.Permitted)),
			Inheritable: uint64(setOf(s.Inheritable)), Ambient: uint64(setOf(s.Ambient)),
		}
	}
	if c.Dir == "" && c.DirFile == nil && c.Chroot == "" && core.keepsDir() {
		g.KeepDir, _ = os.Getwd() // a directory without a name cannot be kept
	}
	if cr := c.Credential; cr != nil {
		g.Credential = &reexec.Credential{UID: cr.UID, GID: cr.GID, Groups: cr.Groups, KeepGroup: cr.NoSetGroups}
	}
	if c.Pdeathsig != nil {
		var ok bool
		if g.Pdeathsig, ok = c.Pdeathsig.(syscall.Signal); !ok {
			return prepared{}, newError("start", 0, "", fmt.Errorf("%s: %v, a %T, is no syscall.Signal: %w", "Pdeathsig", c.Pdeathsig, c.Pdeathsig, os.ErrInvalid))
		}
	}
	done := func() {}
	switch {
	case c.self:
		if g.Exe, done, err = reexec.OpenSelf(protect, core.foreign&User != 0); err != nil {
			return prepared{}, newError("start", 0, "", err)
		}
		env = append(env, selfEnv+"="+handshake.Module)
	case c.Exe != nil && protect:
		if g.Exe, done, err = reexec.CopyExe(c.ctx, c.Exe, protect); err != nil {
			return prepared{}, newError("start", 0, "", fmt.Errorf("%s: %w", "Exe", err))
		}
	case c.Exe != nil && core.foreign&User != 0 && reexec.NeedsCopy(c.Exe):
		if f, d, cerr := reexec.CopyExe(c.ctx, c.Exe, protect); cerr == nil {
			g.Exe, done = f, d
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
	if err := reexec.Rehearse(c.ctx); err != nil {
		done()
		return prepared{}, newError("start", 0, "", err)
	}
	why := &missing{c: c, core: core, protect: protect, env: env, dir: dir, root: root}
	p, err := g.Prepare(c.ctx)
	if err != nil {
		done()
		return prepared{}, why.explain(err)
	}
	return prepared{
		path: p.Path, files: p.Files, env: env, sys: p.Sys,
		start: func(start func() error) error {
			return c.cgroupError(why.explain(reexec.CloneInto(c.Cgroup, start)))
		},
		follow: func(started *os.Process) (*os.Process, error) {
			process, err := p.Follow(c.ctx, started)
			if err == nil {
				return process, nil
			}
			hint := ""
			if le, ok := errors.AsType[*reexec.LaunchError](err); ok {
				hint = core.optionHint(le, g)
				if le.Option == "Cgroup" {
					err = c.cgroupError(err)
				}
			}
			err = why.explain(err)
			var refusal *Error
			if g.Exe != nil && core.foreign&Mount != 0 && errors.Is(err, fs.ErrNotExist) && errors.As(err, &refusal) {
				refusal.Hint = why.whyExe(g.Exe)
			}
			if hint != "" && errors.As(err, &refusal) {
				refusal.Hint = hint
			}
			return process, err
		},
		done: func() {
			p.Close()
			done()
		},
	}, nil
}

// checkFields refuses fields that the kernel or the launcher would refuse later, with a less clear
// error.
func (c *Cmd) checkFields() error {
	for i, arg := range c.Args {
		if strings.IndexByte(arg, 0) >= 0 {
			return newError("start", 0, "", fmt.Errorf("%s is %.100q, which has a zero byte: %w", fmt.Sprintf("Args[%d]", i), arg, unix.EINVAL)) // as of package exec
		}
	}
	for _, p := range []struct{ name, path string }{{"Path", c.Path}, {"Dir", c.Dir}, {"Chroot", c.Chroot}} {
		if strings.IndexByte(p.path, 0) >= 0 {
			return invalid("start", fmt.Sprintf("%s is %.100q, which has a zero byte", p.name, p.path))
		}
	}
	switch {
	case c.DirFile == nil:
	case c.Dir != "":
		return newError("start", 0, "", exclude("Dir", "DirFile"))
	case c.Chroot != "":
		return newError("start", 0, "", exclude("Chroot", "DirFile"))
	default:
		if err := checkDirectory("DirFile", "chdir", c.DirFile); err != nil {
			return newError("start", 0, "", err)
		}
	}
	for _, capability := range c.AmbientCaps {
		if capability > 63 {
			return invalid("start", fmt.Sprintf("AmbientCaps has %d, which is no capability", capability))
		}
	}
	if what := badRlimits(c.Rlimits); what != "" {
		return invalid("start", what)
	}
	if c.Umask != nil && (*c.Umask < 0 || *c.Umask > 0o777) {
		return invalid("start", fmt.Sprintf("Umask is %#o, and not from 0 to 0777", *c.Umask))
	}
	if c.OOMScoreAdj != nil && (*c.OOMScoreAdj < -1000 || *c.OOMScoreAdj > 1000) {
		return invalid("start", fmt.Sprintf("OOMScoreAdj is %d, and not from -1000 to 1000", *c.OOMScoreAdj))
	}
	if interpreter := scriptOf(c.Exe); interpreter != "" {
		return newError("start", 0, "", fmt.Errorf("%s: %s is a script, and its interpreter %q could not open it: %w", "Exe", c.Exe.Name(), interpreter, os.ErrInvalid)).
			withHint("run the interpreter, with the script in ExtraFiles and a path such as /dev/fd/3 as its argument")
	}
	if c.Capabilities != nil {
		if what := c.Capabilities.bad(lastCap()); what != "" {
			return invalid("start", what)
		}
		if len(c.AmbientCaps) > 0 {
			return newError("start", 0, "", exclude("AmbientCaps", "Capabilities")).withHint("set Capabilities.Ambient")
		}
	}
	if n := 3 + len(c.ExtraFiles); c.Setctty && (c.Ctty < 0 || c.Ctty >= n || c.Ctty > 2 && c.ExtraFiles[c.Ctty-3] == nil) {
		return invalid("start", fmt.Sprintf("Ctty is %d, which is none of the program's descriptors, the standard streams and ExtraFiles", c.Ctty))
	}
	return nil
}

// checkBounding refuses capabilities outside of this process's bounding set, because nobody can add
// to that set. Joining a user namespace gives all of them there.
func (c *Cmd) checkBounding() error {
	if c.Capabilities == nil {
		return nil
	}
	for _, n := range c.Capabilities.Bounding {
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, n, 0, 0, 0); err == nil && has == 0 {
			return newError("start", 0, "", fmt.Errorf("Capabilities.Bounding has %d, which is not in the bounding set of this process, and nobody can add to that: %w", n, unix.EPERM))
		}
	}
	return nil
}

// cgroupError names the option Cgroup if clone3(2) has refused it.
func (c *Cmd) cgroupError(err error) error {
	if c.Cgroup == nil {
		return err
	}
	var what string
	switch {
	case errors.Is(err, unix.EBADF):
		what = "it is not a directory of cgroup v2"
	case errors.Is(err, unix.EBUSY):
		what = "it gives its controllers to those below it, and then has no processes itself (cgroups(7))"
	case errors.Is(err, unix.EOPNOTSUPP):
		what = "it is of the type \"domain invalid\" (cgroups(7))"
	case errors.Is(err, unix.ENODEV):
		what = "it was removed"
	default:
		return err
	}
	errno, _ := errors.AsType[syscall.Errno](err)
	return newError("start", 0, "", fmt.Errorf("%s: %s: %s: %w", "Cgroup", c.Cgroup.Name(), what, errno))
}

// programEnv is the environment. It must not be nil: nil would mean this process's environment.
func (c *Cmd) programEnv() ([]string, error) {
	e := c.environment()
	for _, kv := range e.Env {
		if strings.IndexByte(kv, 0) >= 0 {
			return nil, invalid("start", fmt.Sprintf("Env has %.100q: environment variable contains NUL", kv)) // as package exec says
		}
	}
	return append([]string{}, e.Environ()...), nil
}

// lookIn lists the paths at which a program may be, each once. It leaves out relative directories,
// because package exec refuses files found there. It leaves out paths that are too long to exist,
// so that the search goes on.
func lookIn(env []string, name string) (paths []string) {
	seen := make(map[string]bool)
	for _, dir := range filepath.SplitList(searchPath(env)) {
		p := filepath.Join(dir, name)
		if filepath.IsAbs(dir) && !seen[p] && !tooLong(p) {
			seen[p] = true
			paths = append(paths, p)
		}
	}
	return paths
}

// searchPath is PATH of an environment. If the environment sets no PATH, it is this process's.
func searchPath(env []string) string {
	path := os.Getenv("PATH")
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			path = v
		}
	}
	return path
}

// tooLong reports whether the kernel would answer ENAMETOOLONG to a path.
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

// programError tells refusals by namespaces from errors of the file.
func (c *core) programError(err error) error {
	var le *reexec.LaunchError
	if hint := launchHint(err); hint != "" {
		if errors.As(err, &le) && le.Path != "" {
			err = &fs.PathError{Op: "exec", Path: le.Path, Err: le.Err}
		}
		return newError("start", 0, "", err).withHint(hint)
	}
	switch {
	case !errors.As(err, &le):
		return err
	case le.Limit != nil:
		return limitError("start", le)
	case le.Option != "":
		return newError("start", 0, "", optionError(le))
	case le.Path != "" && le.Type == 0:
		op := le.Op
		if isExec(op) {
			op = "exec"
		}
		return newError("start", 0, "", &fs.PathError{Op: op, Path: le.Path, Err: le.Err})
	case le.Type == 0:
		return refusedWith(le.Op, 0, le.Err, func(ev *evidence) { ev.inside = le.Inside })
	}
	return launchErrorWith(0, err, func(ev *evidence) { c.addOwner(ev, err) })
}
