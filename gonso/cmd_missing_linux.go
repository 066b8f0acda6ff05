package gonso

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/reexec"
)

// This file finds out why a program was not found. The kernel says ENOENT if the program is
// missing. It says the same if the interpreter of a script or the loader of a dynamically linked
// program is missing (execve(2)). So gonso looks inside once more, after the failure.

// lookTimeout is how long file systems inside may take to answer when gonso looks for a hint.
const lookTimeout = 2 * time.Second

// missing is a program that could not be started, and where it was looked for.
type missing struct {
	c       *Cmd
	core    *core // the caller holds it
	protect bool
	env     []string

	dir, root string // Cmd.Dir and Cmd.Chroot, as they are looked up inside
}

// explain makes the public error of an error of Prepare, of the start or of Follow.
func (m *missing) explain(err error) error {
	var search *reexec.SearchError
	var le *reexec.LaunchError
	switch {
	case errors.Is(err, unix.E2BIG):
		field, what := reexec.TooLarge(m.c.Args, m.env)
		return newError("start", 0, "", fmt.Errorf("%s: %s: %w", field, what, &fs.PathError{Op: "exec", Path: m.c.Path, Err: unix.E2BIG}))
	case errors.As(err, &search):
		return m.notFound(search)
	case errors.As(err, &le) && le.Type == 0 && isExec(le.Op) && le.Path == m.c.Path && !m.byFile() && errors.Is(le.Err, unix.ENOENT):
		e := newError("start", 0, "", &fs.PathError{Op: "exec", Path: le.Path, Err: le.Err})
		if le.Err != error(unix.ENOENT) {
			return e // its hint says why already
		}
		return e.withHint(m.why(le.Path))
	}
	if m.c.Exe != nil && errors.As(err, &le) && le.Type == 0 && isExec(le.Op) {
		return newError("start", 0, "", about("Exe", &fs.PathError{Op: "exec", Path: m.c.Exe.Name(), Err: le.Err}))
	}
	return m.core.programError(err)
}

// notFound is for a name that was looked up in PATH. A file that is there, but lacks its
// interpreter, counts as found.
func (m *missing) notFound(search *reexec.SearchError) error {
	var look *insideView
	for _, p := range search.Places {
		if p.Err != unix.ENOENT {
			continue
		}
		if look == nil {
			look = m.open()
			defer look.close()
		}
		if why := look.why(p.Path); why != "" {
			return newError("start", 0, "", &fs.PathError{Op: "exec", Path: p.Path, Err: unix.ENOENT}).withHint(why)
		}
	}
	return newError("start", 0, "", search).withHint(m.where(search))
}

// why says why the program at a path was not there.
func (m *missing) why(path string) string {
	if m.c.DirFile != nil && !filepath.IsAbs(path) {
		return "it was looked for in the DirFile"
	}
	look := m.open()
	defer look.close()
	why := look.why(path)
	switch {
	case why != "":
		return why
	case look.err != nil:
		return "possibly it is there, and the interpreter that its first line names is not, or the loader if it is dynamically linked"
	}
	return m.inside()
}

// inside says in which namespaces gonso has looked for files.
func (m *missing) inside() string {
	switch {
	case m.c.Chroot != "":
		return fmt.Sprintf("it was looked for inside, below the Chroot %q", m.c.Chroot)
	case m.core.foreign&Mount != 0:
		return "it was looked for inside, in the Set's mnt namespace"
	}
	return "it was looked for among the files of this program: the Set has no mnt namespace of its own"
}

// maxPlaces is how many directories an error lists.
const maxPlaces = 12

// where lists the directories in which a name was looked for, and the ones that were left out.
func (m *missing) where(search *reexec.SearchError) string {
	path := searchPath(m.env)
	if path == "" {
		return "PATH is empty, or not set, in the environment of the command"
	}
	var dirs, others []string
	for _, p := range search.Places {
		switch dir := filepath.Dir(p.Path); p.Err {
		case unix.EACCES: // the error's text says it
		case unix.ENOTDIR:
			others = append(others, fmt.Sprintf("%q is no directory", dir))
		case unix.ELOOP:
			others = append(others, fmt.Sprintf("%q leads round in links", dir))
		default:
			dirs = append(dirs, dir)
		}
	}
	said := make(map[string]bool)
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) && !said[dir] {
			said[dir] = true
			others = append(others, fmt.Sprintf("not in %q, which is no absolute path", dir))
		}
	}
	hint := m.inside()
	switch {
	case len(search.Places) == 0:
		hint = "no directory of PATH was looked at"
	case len(dirs) > 0:
		more := ""
		if n := len(dirs) - maxPlaces; n > 0 {
			dirs, more = dirs[:maxPlaces], fmt.Sprintf(" and %d more", n)
		}
		hint += ", in " + strings.Join(dirs, ", ") + more
	}
	return strings.Join(append([]string{hint}, others...), "; ")
}

// insideView looks at files inside.
type insideView struct {
	root *os.File // nil for this process's own
	dir  string   // below root, where relative names begin
	err  error    // why no file can be seen
	ctx  context.Context
	done func()
}

func (m *missing) open() *insideView {
	l := &insideView{dir: m.dir}
	l.ctx, l.done = context.WithTimeout(context.Background(), lookTimeout)
	if m.core.foreign&Mount != 0 {
		// Other namespaces, such as a pid namespace, do not matter for paths.
		l.root, l.err = reexec.Root(l.ctx, m.core.joins(m.core.foreign&(Mount|User)), m.protect)
	}
	if l.err == nil && m.root != "" {
		above := *l
		l.root, l.err = sys.Within(l.ctx, func() (*os.File, error) {
			defer above.closeRoot()
			return above.find(m.root, unix.O_DIRECTORY)
		}, func(below *os.File) { below.Close() })
	}
	return l
}

func (l *insideView) close() {
	if l == nil {
		return
	}
	l.closeRoot()
	l.done()
}

func (l *insideView) closeRoot() {
	if l.root != nil {
		l.root.Close()
	}
}

// find opens a path with O_PATH, which does not touch the file's contents.
func (l *insideView) find(path string, flag int) (*os.File, error) {
	at, how := unix.AT_FDCWD, &unix.OpenHow{Flags: uint64(unix.O_PATH | flag)}
	if l.root != nil {
		how.Resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
		if !filepath.IsAbs(path) {
			path = filepath.Join("/", l.dir, path)
		}
		at = int(l.root.Fd())
	} else if !filepath.IsAbs(path) && l.dir != "" {
		path = l.dir + "/" + path
	}
	fd, err := openat2(at, path, how)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// interpreter is the file that the kernel executes in place of the program f.
func (l *insideView) interpreter(f *os.File) (path string, script bool) {
	w := &found{fd: int(f.Fd())}
	if unix.Fstat(w.fd, &w.stat) != nil || !w.is(unix.S_IFREG) || w.ordinary() != nil {
		return "", false
	}
	fd, err := reopen(w.fd, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return "", false
	}
	r := os.NewFile(uintptr(fd), f.Name())
	defer r.Close()
	return reexec.Interpreter(r)
}

// why says which file the program at a path needs and lacks. It is "" if the path itself is
// missing, or if no file is missing.
func (l *insideView) why(path string) string {
	if l.err != nil {
		return ""
	}
	return l.within(func() string {
		f, err := l.find(path, 0)
		if err != nil {
			return ""
		}
		return l.lacks(f)
	})
}

// within runs look, which looks at files. If they do not answer in time, a goroutine waits on, and
// owns root.
func (l *insideView) within(look func() string) string {
	last := *l
	why, err := sys.Within(l.ctx, func() (string, error) { return look(), nil }, func(string) { last.closeRoot() })
	if err != nil {
		l.root, l.err = nil, err
	}
	return why
}

// lacks is why for a file that exists. It closes the file.
func (l *insideView) lacks(f *os.File) string {
	const depth = 5 // bprm_execve of fs/exec.c
	of := ""
	for range depth {
		next, script := l.interpreter(f)
		f.Close()
		if next == "" {
			break
		}
		var err error
		if f, err = l.find(next, 0); err == nil {
			of = fmt.Sprintf(" of %q", next)
			continue
		}
		if !errors.Is(err, unix.ENOENT) {
			break
		}
		if !script {
			return fmt.Sprintf("it is there, and the loader%s, %q, is not: a dynamically linked program needs its loader and its libraries inside", of, next)
		}
		hint := fmt.Sprintf("it is there, and the interpreter%s that its first line names, %q, is not", of, next)
		if strings.HasSuffix(next, "\r") {
			hint += ": the line ends with a carriage return"
		}
		return hint
	}
	return ""
}

// scriptOf returns the interpreter of a script, or "" for another file. The kernel gives the
// interpreter a path of the descriptor that was executed, and the program does not have that.
func scriptOf(exe *os.File) string {
	if exe == nil {
		return ""
	}
	f, err := sys.DupFile(exe)
	if err != nil {
		return ""
	}
	defer f.Close()
	path, script := new(insideView).interpreter(f)
	if !script {
		return ""
	}
	return path
}

// whyExe is why for a program that was opened outside.
func (m *missing) whyExe(exe *os.File) string {
	look := m.open()
	defer look.close()
	if look.err == nil {
		if f, err := sys.DupFile(exe); err == nil {
			if why := look.within(func() string { return look.lacks(f) }); why != "" {
				return why + "; build a Go program with CGO_ENABLED=0"
			}
		}
	}
	return "possibly it is dynamically linked and its loader is missing inside: build it with CGO_ENABLED=0"
}

// byFile reports whether the program is a file from outside, and not a path inside.
func (m *missing) byFile() bool { return m.c.self || m.c.Exe != nil }

func isExec(op string) bool { return op == "exec" || op == "execve" || op == "execveat" }
