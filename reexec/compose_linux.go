package reexec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/reexec/internal/launcher"
)

// This file composes the steps of every launch. Composing calls nothing: a list
// can be printed, and is, in the tests. The rules behind the order of the steps
// are in credentials(7), user_namespaces(7), setns(2) and prctl(2).

// launch is a step list that remembers which namespace a step is about.
type launch struct {
	launcher.List
	about map[int]uint32
}

func newLaunch() *launch { return &launch{about: make(map[int]uint32)} }

// Descriptors of a starting worker, in the order of launcher.Cmd.Files.
const (
	workerSocket = launcher.FirstFileFD + iota
	workerExe
	workerJoins
)

// composeWorker joins namespaces and becomes this program.
func composeWorker(joins []Join, protect bool) *launch {
	l := newLaunch()
	user := joinsUser(joins)
	l.shield(user, protect, protect)
	if user {
		l.joinAsRoot(joins, workerJoins)
	} else {
		l.join(joins, workerJoins)
	}
	// The worker keeps its standard streams and its socket. The control pipe
	// gives way to the socket; exec closes the status pipe, which says so.
	l.Dup3(workerSocket, launcher.FD(child.SocketFD), 0)
	l.Cloexec(launcher.StatusFD)
	l.Cloexec(workerExe)
	l.Close(launcher.ImageFD)
	l.Close(workerSocket)
	l.CloseRange(workerJoins, 0)
	// By descriptor: the path may be missing or another file inside.
	l.Execveat(workerExe).Tolerate(unix.ENOENT)
	// TOMOYO looks for /dev/fd and answers ENOENT where that is missing.
	l.Execve(fmt.Sprintf("/proc/self/fd/%d", workerExe))
	return l
}

// composeCreation makes namespaces and holds them until told to go on. dumpable
// says that this process needs that to open the launcher's files in /proc.
func composeCreation(c *Creation, dumpable bool) *launch {
	l := newLaunch()
	user := joinsUser(c.Join)
	l.shield(user, c.Protect, c.Protect && !dumpable)
	if user {
		// The new user namespace is owned by who makes it, and the default maps
		// are those of the joined one's root.
		l.joinAsRoot(c.Join, launcher.FirstFileFD)
		if dumpable {
			l.Prctl(unix.PR_SET_DUMPABLE, 1) // changing ids took it away
		}
	} else {
		l.join(c.Join, launcher.FirstFileFD)
	}
	l.about[l.Unshare(int(c.Unshare)).Index()] = c.Unshare
	if c.Propagation != 0 {
		l.about[l.Mount("", "/", "", c.Propagation, "").Index()] = unix.CLONE_NEWNS
	}
	l.Sync()
	l.Wait()
	return l
}

// composeMapper writes the id maps of a process below the user namespace of
// joins, from inside it: only who is there, or in the new one, may (see
// user_namespaces(7)). It keeps its ids, with which it may open the files
// whether or not the other process is dumpable.
func composeMapper(c *Creation, user Join, pid int) *launch {
	l := newLaunch()
	l.shield(true, c.Protect, c.Protect)
	l.join([]Join{user}, launcher.FirstFileFD)
	for _, w := range c.mapFiles() {
		fd := l.Openat(launcher.FD(unix.AT_FDCWD), fmt.Sprintf("/proc/%d/%s", pid, w.name), unix.O_WRONLY)
		step := l.Write(fd, w.content)
		l.about[fd.Index()], l.about[step.Index()] = unix.CLONE_NEWUSER, unix.CLONE_NEWUSER
		l.Close(fd)
	}
	return l
}

type mapFile struct{ name, content string }

// mapFiles lists what is to be written, in the order that the kernel demands:
// setgroups before gid_map.
func (c *Creation) mapFiles() []mapFile {
	var files []mapFile
	if c.DenySetgroups {
		files = append(files, mapFile{"setgroups", "deny"})
	}
	if c.UIDMap != "" {
		files = append(files, mapFile{"uid_map", c.UIDMap})
	}
	if c.GIDMap != "" {
		files = append(files, mapFile{"gid_map", c.GIDMap})
	}
	return files
}

// shield keeps what is inside from reaching the launcher, and from the keys of
// who started it. Where root inside is not of this process's making, failing to
// do so is fatal; elsewhere plain users may run into their quota of keys.
func (l *launch) shield(user, protect, undumpable bool) {
	if undumpable {
		l.Prctl(unix.PR_SET_DUMPABLE, 0)
	}
	switch {
	case protect:
		l.JoinSessionKeyring().Tolerate(unix.ENOSYS) // then there are no keys
	case user:
		l.JoinSessionKeyring().Tolerate(unix.ENOSYS, unix.EDQUOT)
	}
}

// join enters namespaces whose descriptors begin at first.
func (l *launch) join(joins []Join, first launcher.FD) {
	tried := make(map[uint32]*launcher.Step)
	for i, j := range joins {
		s := l.Setns(first+launcher.FD(i), int(j.Type))
		l.about[s.Index()] = j.Type
		if j.MayFail {
			tried[j.Type] = s.Tolerate(unix.EPERM)
		}
		if j.Again {
			s.When(tried[j.Type])
		}
	}
}

// joinAsRoot joins namespaces with a user namespace among them, and takes on the
// ids of root in it. Without a mapped 0 there are none, and exec would drop the
// capabilities: they are made ambient then.
func (l *launch) joinAsRoot(joins []Join, first launcher.FD) {
	// Supplementary groups go while this is allowed: outside for root, inside
	// for others unless setgroups is denied there, when the kernel lets nobody
	// drop them.
	kept := l.Setgroups().Tolerate(unix.EPERM)
	l.join(joins, first)
	l.Setgroups().Tolerate(unix.EPERM).When(kept)
	l.Setresgid(0).Tolerate(unix.EINVAL)
	unmapped := l.Setresuid(0).Tolerate(unix.EINVAL)
	for _, s := range l.RaiseCaps(unix.CAP_LAST_CAP) {
		s.When(unmapped)
	}
}

func files(joins []Join) []*os.File {
	fs := make([]*os.File, len(joins))
	for i, j := range joins {
		fs[i] = j.File
	}
	return fs
}

// start starts the launcher on l.
func (l *launch) start(cmd *launcher.Cmd) (*launcher.Process, error) {
	cmd.List = &l.List
	return launcher.Start(cmd)
}

// failure is the step that failed, if one did; the launcher has ended or is
// about to.
func (l *launch) failure(p *launcher.Process) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return l.explain(p.Next(ctx))
}

// explain makes a LaunchError of a StepError, and nil of the launcher's plain end.
func (l *launch) explain(err error) error {
	var se *launcher.StepError
	if !errors.As(err, &se) {
		return nil
	}
	return &LaunchError{Op: se.Name, Type: l.about[se.Index], Step: se.Step, Err: se.Errno}
}
