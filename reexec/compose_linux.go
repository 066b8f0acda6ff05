package reexec

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/launcher"
)

// This file composes the steps of launches. The steps that start a user's program are in
// program_linux.go. Composing makes no system call: the tests print the lists. The rules behind the
// order of the steps are in credentials(7), user_namespaces(7), setns(2) and prctl(2).

// launch is the launcher's work from its start until it ends or becomes a program. It is a step
// list that remembers which namespace a step is about.
type launch struct {
	launcher.List
	about map[int]uint32
	paths map[int]string // the file that a step is about
	asked map[int]asked  // the caller's option that a step is for; nil if no step has one
	shut  map[int]string // why the kernel may answer ENOENT to a step although its file exists
	forks bool           // it goes on in a child of this process, for launcher.Process.Follow
	// lasting: it ends with the thread that starts it, so that thread must be a lasting one
	lasting bool
	forbids forbidden
	protect bool
	sheds   bool           // see facts
	refused error          // it is known that it would fail
	inside  int            // the first step in another user namespace, with all capabilities there; 0 if there is no such step
	fresh   map[int]bool   // steps that mount a file system that shows namespaces
	kept    *launcher.Step // if its result is not 0: the launcher still has groups that somebody else's Set must not get
	ownNS   string         // where creationProc has the links to the launcher's namespaces
}

func newLaunch() *launch {
	return &launch{about: make(map[int]uint32), paths: make(map[int]string), shut: make(map[int]string)}
}

// Descriptors of a starting worker, in the order of launcher.Cmd.Files.
const (
	workerSocket = launcher.FirstFileFD + iota
	workerExe
	workerJoins
)

// workerLaunch holds what differs between the launches of one Worker.
type workerLaunch struct {
	joins []Join
	mount bool // the file after the joined namespaces is a mnt namespace, which each call enters by itself
	hold  bool // wait first, until somebody has moved the launcher to its cgroup
	own   own
	exe   string // the program's name in messages
}

// composeWorker joins namespaces and becomes the worker's program.
func composeWorker(o *WorkerOptions, how workerLaunch) *launch {
	joins := how.joins
	l := newLaunch()
	top := workerJoins + launcher.FD(len(joins))
	if how.mount {
		top++
	}
	l.cross(crossing{own: how.own, user: joinsType(joins, newUser), protect: o.Protect, top: top, hold: how.hold, worker: true})
	for _, r := range o.Rlimits { // before the privileges of outside are gone
		l.ofLimit("Worker.Rlimits", &r, func() { l.Prlimit(r.Resource, r.Soft, r.Hard) })
	}
	l.enter(joins, workerJoins, o.KeepIDs)
	if l.forks {
		// The process group is the original launcher's. The session is, too, and has no leader
		// then: nobody in it can get a terminal.
		l.Setpgid()
	}
	if o.Dir != "" && !how.mount {
		l.of("Worker.Dir", func() { l.chdir(joins, o.Dir) })
	}
	// The worker keeps descriptors 0 to 2 and its socket. The control pipe gives way to the socket;
	// exec closes the status pipe, and that reports the exec.
	l.Dup3(workerSocket, launcher.FD(handshake.SocketFD), 0)
	l.Cloexec(launcher.StatusFD)
	l.Cloexec(workerExe)
	if how.mount {
		l.Dup3(workerJoins+launcher.FD(len(joins)), launcher.FD(handshake.MountFD), 0) // ImageFD
	} else {
		l.Close(launcher.ImageFD)
	}
	l.Close(workerSocket)
	l.closeOwn(workerJoins, top, how.own)
	l.giveBack(how.own, joinsType(joins, newUser), o.Protect)
	l.Vouch()
	l.execute(workerExe, how.exe, o.Protect)
	return l
}

// execute becomes the program that a descriptor refers to. exec closes the descriptor. So nobody
// inside can put another program in its place: inside, the path may be missing or name another
// file. The kernel also refuses an interpreter that the user namespace has for the program
// (binfmt_misc, Linux 6.7) (fs/binfmt_misc.c, BINPRM_FLAGS_PATH_INACCESSIBLE).
//
// Where a filter forbids execveat, the path is executed, but only in this user's own Set.
func (l *launch) execute(fd launcher.FD, name string, protect bool) {
	path := fmt.Sprintf("/proc/self/fd/%d", fd) // path: only in this user's own Set
	switch {
	case l.forbids.execveat && protect: // not even tried: a filter may kill the caller
		l.refused = &LaunchError{Op: "execveat", Path: name, Step: "execveat", Err: noExecveat(unix.EPERM)}
	case l.forbids.execveat:
		l.paths[l.Execve(path).Index()] = name
		return
	}
	s := l.Execveat(fd)
	l.paths[s.Index()] = name
	if protect {
		l.shut[s.Index()] = shutOut
		return
	}
	// TOMOYO looks for /dev/fd and answers ENOENT where that is missing.
	s.Tolerate(unix.ENOENT)
	l.paths[l.Execve(path).Index()] = name
}

const shutOut = "it is executed by descriptor alone, as somebody else may be root inside; possibly an interpreter was registered for it there " +
	"(binfmt_misc); or it is dynamically linked and its loader is missing inside; or TOMOYO is active and /dev/fd is missing inside"

// Descriptors of the launcher that makes namespaces, in the order of launcher.Cmd.Files.
const (
	creationSocket = launcher.FirstFileFD + iota // the new namespaces are sent there
	creationProc                                 // our procfs; where others may look, later the launcher's own ns directory in it
	creationJoins
)

// composeCreation makes namespaces, sends their descriptors, and holds them until it is told to go
// on. The launcher opens them itself. While it is not dumpable, nobody else may open them, not even
// root without CAP_SYS_PTRACE. dumpable says that this process must open files of the launcher in
// /proc. lasting says that the thread which starts it ends with this process.
func composeCreation(c *Creation, dumpable, lasting bool) *launch {
	l := newLaunch()
	l.lasting = lasting
	user := joinsType(c.Join, newUser)
	l.cross(crossing{own: c.own, user: user, protect: c.Protect, top: creationJoins + launcher.FD(len(c.Join))})
	// The user who makes a user namespace owns it. The default maps are those of the joined
	// namespace's root.
	l.enter(c.Join, creationJoins, false)
	l.mayFly(c.own)
	if len(c.Join) == 0 && c.Unshare&newPID == 0 {
		l.ownNS = "self/ns/" // nobody else can look at it
	} else {
		own := l.Openat(creationProc, "self/ns", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC)
		l.Dup3(own, creationProc, unix.O_CLOEXEC)
		l.closeOwn(creationJoins, creationJoins+launcher.FD(len(c.Join))+1, c.own) // it was opened behind them
	}
	if dumpable && c.Protect && user {
		l.emptyRoot(c.chrooted) // others may look from here on
	}
	owned := c.OwnerUID != nil && c.Unshare&newUser != 0
	if owned {
		l.of("OwnerUID", func() { l.becomeOwner(*c.OwnerUID, c.own.permitted, user) })
	}
	if dumpable && (c.Protect || user || c.own.mixed || owned) {
		l.Prctl(unix.PR_SET_DUMPABLE, 1) // changing ids, or exec with ids that differ, took it away
	}
	l.on(c.Unshare, l.Unshare(int(c.Unshare)))
	if c.Unshare&newUser != 0 {
		l.inside = l.Len()
	}
	if c.Propagation != 0 {
		l.on(unix.CLONE_NEWNS, l.Mount("", "/", "", c.Propagation, ""))
	}
	if c.LoopbackUp {
		socket := l.on(unix.CLONE_NEWNET, l.Socket())
		l.on(unix.CLONE_NEWNET, l.SetInterfaceUp("lo", socket))
		l.Close(socket)
	}
	l.sendOwn(c.Unshare&^newPID, creationJoins)
	l.Sync()
	l.Wait()
	if c.Unshare&newPID != 0 {
		l.becomeReaper(c)
	} else {
		l.mountFresh(c.Fresh)
	}
	return l
}

// becomeOwner takes on the uid that will own a new user namespace. It keeps the launcher's
// capabilities, because making a user namespace may require CAP_SYS_ADMIN
// (kernel.unprivileged_userns_clone, AppArmor). Below a joined user namespace, the launcher has all
// capabilities.
func (l *launch) becomeOwner(uid uint32, permitted uint64, joined bool) {
	if joined {
		permitted = allCaps
	}
	l.Prctl(unix.PR_SET_KEEPCAPS, 1)
	l.Setresuid(int(uid))
	l.Capset(permitted, permitted, 0)
}

// allCaps are all capabilities that exist.
const allCaps = 1<<(unix.CAP_LAST_CAP+1) - 1

// sendOwn sends the launcher's own namespaces of some types. free is the lowest free descriptor.
func (l *launch) sendOwn(types uint32, free launcher.FD) {
	var fds []launcher.FD
	for _, link := range nsLinks {
		if types&link.typ != 0 {
			fd := free + launcher.FD(len(fds))
			l.on(link.typ, l.OpenAs(fd, creationProc, l.ownNS+link.name, unix.O_RDONLY|unix.O_CLOEXEC))
			fds = append(fds, fd)
		}
	}
	if len(fds) > 0 {
		l.SendFiles(creationSocket, fds...)
	}
}

// mayFly raises the soft limit of open files. This limit also bounds how many descriptors all
// processes of the user together may have in flight (ETOOMANYREFS, unix(7)). The launcher opens no
// more files than before.
func (l *launch) mayFly(o own) {
	if o.hardFiles > 0 {
		l.Prlimit(unix.RLIMIT_NOFILE, o.hardFiles, o.hardFiles)
	}
}

// becomeReaper goes on as pid 1 of the new pid namespace, which only a child can be. The child
// lives until this process closes its end of the control pipe or ends. Everything inside dies with
// the child (pid_namespaces(7)). The original launcher waits for the child: if the child is inside
// another pid namespace, this process cannot tell its id. Killing the original kills the child,
// too.
//
// Processes inside, or in a pid namespace that was joined, can see both. So both have nothing to
// show: an empty root, and no descriptors but ends of pipes. The id of their mnt namespace is of no
// use to anybody.
func (l *launch) becomeReaper(c *Creation) {
	l.closeOwn(creationJoins, creationJoins+launcher.FD(len(nsLinks)), c.own)
	l.Close(launcher.ImageFD)
	const free = launcher.FD(0) // once the streams are closed
	for fd := free; fd < launcher.ControlFD; fd++ {
		l.Close(fd)
	}
	if len(c.Fresh) == 0 {
		l.emptyRoot(c.chrooted)
	}
	if l.lasting { // both may be stopped when this process ends
		l.Prctl(unix.PR_SET_PDEATHSIG, int(unix.SIGKILL))
	}
	child := l.on(newPID, l.Clone(int(unix.SIGCHLD)))
	original := l.Len()
	l.sendOwn(newPID, free) // from now on it can be opened
	l.Close(free)
	l.Close(creationSocket)
	l.Close(creationProc)
	if len(c.Fresh) > 0 {
		l.emptyRoot(c.chrooted)
	}
	l.Sync()
	l.Prctl(unix.PR_SET_DUMPABLE, 0)
	l.Wait4()
	l.ExitGroup(0)
	l.When(original, child)
	l.Prctl(unix.PR_SET_DUMPABLE, 0)
	l.Close(creationSocket)
	l.Close(creationProc)
	l.Prctl(unix.PR_SET_PDEATHSIG, int(unix.SIGKILL))
	l.IgnoreSignal(unix.SIGCHLD) // orphans are reaped as they end
	if len(c.Fresh) > 0 {
		l.mountFresh(c.Fresh) // in the new mnt namespace, which it then leaves
		l.emptyRoot(c.chrooted)
	}
	l.Sync()
	l.Wait()
}

// mountFresh mounts file systems that show the namespaces that the launcher is in. The mount that
// was there may share mounts with the mount that it is a copy of.
func (l *launch) mountFresh(all []Fresh) {
	for _, m := range all {
		for _, s := range []*launcher.Step{
			l.Mount("none", m.Dir, "", unix.MS_REC|unix.MS_PRIVATE, "").Tolerate(unix.EINVAL), // nothing was mounted
			// The same file system is mounted there already. Only a sysfs can be (do_add_mount).
			l.Mount(m.FS, m.Dir, m.FS, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "").Tolerate(unix.EBUSY),
		} {
			l.on(unix.CLONE_NEWNS, s)
			l.paths[s.Index()] = m.Dir
		}
		if l.fresh == nil {
			l.fresh = make(map[int]bool)
		}
		l.fresh[l.Len()-1] = true
	}
}

// asked is an option that the caller set.
type asked struct {
	option string
	limit  *Rlimit // the limit that the option sets
}

// of records the caller's option for the steps that add appends.
func (l *launch) of(option string, add func()) { l.ofLimit(option, nil, add) }

func (l *launch) ofLimit(option string, limit *Rlimit, add func()) {
	from := l.Len()
	add()
	if l.asked == nil {
		l.asked = make(map[int]asked)
	}
	for i := from; i < l.Len(); i++ {
		l.asked[i] = asked{option, limit}
	}
}

// on remembers which namespaces a step is about.
func (l *launch) on(types uint32, s *launcher.Step) *launcher.Step {
	l.about[s.Index()] = types
	return s
}

// composeMapper writes the id maps of a process in a user namespace below user. The launcher does
// so from inside user: only a process there, or in the new namespace, may (see user_namespaces(7)).
// The launcher's second file is the directory of the process in procfs. The launcher keeps its ids:
// with them it may open the files whether or not the process is dumpable.
func composeMapper(c *Creation, user Join) *launch {
	l := newLaunch()
	l.cross(crossing{own: c.own, user: true, protect: c.Protect, top: launcher.FirstFileFD + 2, session: true})
	l.join([]Join{user}, launcher.FirstFileFD)
	for _, w := range c.procFiles() {
		fd := l.Openat(launcher.FirstFileFD+1, w.name, unix.O_WRONLY)
		write := l.Write(fd, w.content)
		for _, step := range []*launcher.Step{fd, write} {
			l.on(w.about, step)
			l.paths[step.Index()] = w.name
		}
		l.Close(fd)
	}
	return l
}

// composeMember stays in the namespaces of joins until it is ended. If somebody else is root
// inside, it need not be dumpable: everybody may read its id maps. But a plain user sees only
// dumpable processes in a /proc with hidepid (proc(5)).
func composeMember(joins []Join, protect, plain bool, o own) *launch {
	l := newLaunch()
	l.cross(crossing{own: o, user: true, protect: protect, top: launcher.FirstFileFD + launcher.FD(len(joins)), session: true})
	l.join(joins, launcher.FirstFileFD)
	if plain && !protect {
		l.Prctl(unix.PR_SET_DUMPABLE, 1) // joining a user namespace took it away
	}
	l.Sync()
	l.Wait()
	return l
}

// composeBareMember is composeMember for a launcher that others may look at. There is nothing to
// see in it: its root is empty, and its only descriptors are ends of pipes.
func composeBareMember(joins []Join, o own, chrooted bool) *launch {
	l := newLaunch()
	end := launcher.FirstFileFD + launcher.FD(len(joins))
	l.cross(crossing{own: o, user: true, protect: true, top: end, session: true})
	l.join(joins, launcher.FirstFileFD)
	l.closeOwn(launcher.FirstFileFD, end, o)
	l.Close(launcher.ImageFD)
	l.emptyRoot(chrooted)
	l.Prctl(unix.PR_SET_DUMPABLE, 1)
	l.Sync()
	l.Wait()
	return l
}

// procFile is a file below /proc/PID that configures a namespace.
type procFile struct {
	name, content string
	about         uint32
}

// procFiles lists the files to write, in the order that the kernel demands: setgroups before
// gid_map.
func (c *Creation) procFiles() []procFile {
	var files []procFile
	if c.DenySetgroups {
		files = append(files, procFile{"setgroups", "deny", unix.CLONE_NEWUSER})
	}
	for _, f := range []procFile{
		{"uid_map", c.UIDMap, unix.CLONE_NEWUSER},
		{"gid_map", c.GIDMap, unix.CLONE_NEWUSER},
		{"timens_offsets", c.ClockOffsets, unix.CLONE_NEWTIME},
	} {
		if f.content != "" {
			files = append(files, f)
		}
	}
	return files
}

// shield keeps processes inside from reaching the launcher, and the keys of the user who started
// it. If root inside may be somebody else, failing to do so is fatal. Otherwise a plain user may
// run into the quota of keys. If a filter forbids asking for keys, as in most containers, there is
// nothing to do: the started process has that filter, too.
func (l *launch) shield(c crossing) {
	if c.protect {
		l.Prctl(unix.PR_SET_DUMPABLE, 0)
	}
	switch {
	case c.forbids.keyctl:
	case c.protect:
		l.JoinSessionKeyring().Tolerate(unix.ENOSYS) // then there are no keys
	case c.user:
		l.JoinSessionKeyring().Tolerate(unix.ENOSYS, unix.EDQUOT)
	}
}

// enter joins namespaces whose descriptors begin at first, as root of the user namespace among them
// if there is one and keepIDs is not set. Only a child enters a pid namespace (see setns(2)). It is
// made a child of this process.
func (l *launch) enter(joins []Join, first launcher.FD, keepIDs bool) {
	if joinsType(joins, newUser) {
		l.joinUser(joins, first, keepIDs)
	} else {
		l.join(joins, first)
		if l.kept != nil && len(joins) > 0 { // only now: that the Set cannot be joined is the better error
			l.Setgroups().When(l.kept)
		}
	}
	if l.forks = joinsType(joins, newPID); l.forks {
		child := l.on(unix.CLONE_NEWPID, l.Clone(unix.CLONE_PARENT|int(unix.SIGCHLD)))
		l.Send(child).When(child)
		l.ExitGroup(0).When(child)
		l.Wait() // otherwise its reports could come before its id
	}
}

// chdir changes the working directory to a path inside. In a joined mnt namespace it follows no
// link of procfs: others may have made it, and it could lead to a descriptor.
func (l *launch) chdir(joins []Join, path string) {
	if !joinsType(joins, unix.CLONE_NEWNS) || l.forbids.openat2 && !l.protect {
		l.paths[l.Chdir(path).Index()] = path
		return
	}
	dir := l.OpenDir(path)
	l.paths[dir.Index()] = path
	l.paths[l.Fchdir(dir).Index()] = path
	l.Close(dir)
}

// chroot is chdir for the root directory as well.
func (l *launch) chroot(joins []Join, path string) {
	if !joinsType(joins, unix.CLONE_NEWNS) {
		l.paths[l.Chroot(path).Index()] = path
		return
	}
	l.chdir(joins, path)
	l.paths[l.Chroot(".").Index()] = path
}

// join enters namespaces whose descriptors begin at first.
func (l *launch) join(joins []Join, first launcher.FD) {
	tried := make(map[uint32]*launcher.Step)
	for i, j := range joins {
		s := l.on(j.Type, l.Setns(first+launcher.FD(i), int(j.Type)))
		if j.Type == newUser {
			l.inside = l.Len()
		}
		if j.MayFail {
			tried[j.Type] = s.Tolerate(unix.EPERM)
		}
		if j.Again {
			s.When(tried[j.Type])
		}
	}
}

// joinUser joins namespaces, a user namespace among them, and takes on the ids of root there. If 0
// is not mapped, there are no such ids, and exec would drop the capabilities: they are made ambient
// then.
func (l *launch) joinUser(joins []Join, first launcher.FD, keepIDs bool) {
	// Supplementary groups are dropped where this is allowed: outside for root, inside for others.
	// If setgroups is denied inside, the kernel lets nobody drop them.
	groups := l.Setgroups()
	if l.sheds {
		l.join(joins, first)
	} else {
		groups.Tolerate(unix.EPERM)
		l.join(joins, first)
		l.Setgroups().Tolerate(unix.EPERM).When(groups)
	}
	if keepIDs {
		return
	}
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
