package reexec

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/launcher"
)

// This file composes the steps of launches; those of a program of the user's are in
// program_linux.go. Composing calls nothing: a list can be printed, and is, in the
// tests. The rules behind the order of the steps are in credentials(7),
// user_namespaces(7), setns(2) and prctl(2).

// launch is the launcher's work from its start to its end, or to the program that it becomes: a
// step list that remembers which namespace a step is about.
type launch struct {
	launcher.List
	about map[int]uint32
	paths map[int]string // of steps that are about a file
	asked map[int]asked  // the caller's option that steps are for; nil if none is
	shut  map[int]string // why the kernel may answer ENOENT to steps that have no file to find
	forks bool           // it goes on in a child of this process, for launcher.Process.Follow
	// lasting: it ends with the thread that starts it, which has to be one that lasts
	lasting bool
	forbids forbidden
	protect bool
	refused error          // it is known that it would fail
	inside  int            // the first step in another user namespace, with all capabilities there; 0 if none is
	fresh   map[int]bool   // steps that mount what shows namespaces
	kept    *launcher.Step // the groups that somebody else's Set must not get, if that is not 0
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

// workerLaunch has the differences between the launches of one Worker.
type workerLaunch struct {
	joins []Join
	mount bool // the file after those of joins is a mnt namespace that calls are to enter one by one
	hold  bool // wait first, for somebody to move the launcher to its cgroup
	own   own
	exe   string // how the program is named to people
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
		// The group is the original's. So is the session, which has no leader then: nobody in
		// it can get a terminal.
		l.Setpgid()
	}
	if o.Dir != "" && !how.mount {
		l.of("Worker.Dir", func() { l.chdir(joins, o.Dir) })
	}
	// The worker keeps descriptors 0 to 2 and its socket. The control pipe
	// gives way to the socket; exec closes the status pipe, which says so.
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

// execute becomes the program of a descriptor that exec closes. So nobody inside can
// have another program for it: the path may be missing or another file there, and an
// interpreter that the user namespace has for it (binfmt_misc, Linux 6.7) is refused
// (fs/binfmt_misc.c, BINPRM_FLAGS_PATH_INACCESSIBLE).
//
// Where a filter forbids execveat there is the path, in a Set of one's own.
func (l *launch) execute(fd launcher.FD, name string, protect bool) {
	path := fmt.Sprintf("/proc/self/fd/%d", fd) // path: in a Set of one's own alone
	switch {
	case l.forbids.execveat && protect: // not even tried, as a filter may kill
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

// Descriptors of what makes namespaces, in the order of launcher.Cmd.Files.
const (
	creationSocket = launcher.FirstFileFD + iota // what is made is sent there
	creationProc                                 // our procfs; where others may look, later the launcher's own ns directory in it
	creationJoins
)

// composeCreation makes namespaces, sends their descriptors, and holds them until it is told to go
// on. The launcher opens them itself: while it is not dumpable nobody else may, not even root
// without CAP_SYS_PTRACE. dumpable says that this process must open files of the launcher in /proc.
// lasting says that the thread which starts it ends with this process.
func composeCreation(c *Creation, dumpable, lasting bool) *launch {
	l := newLaunch()
	l.lasting = lasting
	user := joinsType(c.Join, newUser)
	l.cross(crossing{own: c.own, user: user, protect: c.Protect, top: creationJoins + launcher.FD(len(c.Join))})
	// The new user namespace is owned by who makes it, and the default maps
	// are those of the joined one's root.
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
// capabilities, because making a user namespace may take CAP_SYS_ADMIN
// (kernel.unprivileged_userns_clone, AppArmor). Below a joined user namespace the launcher has all
// of them.
func (l *launch) becomeOwner(uid uint32, permitted uint64, joined bool) {
	if joined {
		permitted = allCaps
	}
	l.Prctl(unix.PR_SET_KEEPCAPS, 1)
	l.Setresuid(int(uid))
	l.Capset(permitted, permitted, 0)
}

// allCaps are the capabilities that there may be.
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

// mayFly raises the soft limit of open files. It also limits how many descriptors of the user may
// be in flight, of all processes together (ETOOMANYREFS, unix(7)). The launcher opens no more files
// than before.
func (l *launch) mayFly(o own) {
	if o.hardFiles > 0 {
		l.Prlimit(unix.RLIMIT_NOFILE, o.hardFiles, o.hardFiles)
	}
}

// becomeReaper goes on as pid 1 of the new pid namespace, which takes a child. It
// lives until this process closes its end of the control pipe, or is gone, and
// everything inside dies with it (pid_namespaces(7)). The original waits for it:
// inside another pid namespace this process could not tell its id. Killing the
// original kills it too.
//
// Both can be seen inside, or from a pid namespace that was joined. So they have
// nothing to be seen: an empty root, and no descriptors but ends of pipes. The
// id of that mnt namespace means nothing to anybody.
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
	if l.lasting { // it may be stopped when this process ends, and so may the child
		l.Prctl(unix.PR_SET_PDEATHSIG, int(unix.SIGKILL))
	}
	child := l.on(newPID, l.Clone(int(unix.SIGCHLD)))
	original := l.Len()
	l.sendOwn(newPID, free) // which can be opened from now on
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

// mountFresh mounts file systems that show the namespaces that the launcher is in. What was there
// might be shared with where it was copied from.
func (l *launch) mountFresh(all []Fresh) {
	for _, m := range all {
		for _, s := range []*launcher.Step{
			l.Mount("none", m.Dir, "", unix.MS_REC|unix.MS_PRIVATE, "").Tolerate(unix.EINVAL), // nothing was
			// The very same is there already, which only a sysfs can be (do_add_mount).
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

// asked is an option of the caller's.
type asked struct {
	option string
	limit  *Rlimit // that the option gives
}

// of remembers which option of the caller's the steps are for that add adds.
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

// composeMapper writes the id maps of a process below the user namespace of
// joins, from inside it: only who is there, or in the new one, may (see
// user_namespaces(7)). The process is the directory of procfs that is its second file. It keeps its ids, with which it may open the files
// whether or not the other process is dumpable.
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

// composeMember stays in the namespaces of joins until it is ended. Everybody may read its id maps,
// so it need not be dumpable if somebody else is root inside. But a plain user sees only dumpable
// processes in a /proc with hidepid (proc(5)).
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

// shield keeps what is inside from reaching the launcher, and from the keys of
// who started it. Where root inside is not of this process's making, failing to
// do so is fatal; elsewhere plain users may run into their quota of keys. What a filter keeps from asking for keys,
// as in most containers, has none to be kept from: whatever is started has that filter.
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

// enter joins namespaces whose descriptors begin at first, as root of the user
// namespace among them if there is one and keepIDs is not set. What is in a pid
// namespace afterwards is a child (see setns(2)), but one of this process.
func (l *launch) enter(joins []Join, first launcher.FD, keepIDs bool) {
	if joinsType(joins, newUser) {
		l.joinUser(joins, first, keepIDs)
	} else {
		l.join(joins, first)
		if l.kept != nil && len(joins) > 0 { // only now: that the Set cannot be joined says more
			l.Setgroups().When(l.kept)
		}
	}
	if l.forks = joinsType(joins, newPID); l.forks {
		child := l.on(unix.CLONE_NEWPID, l.Clone(unix.CLONE_PARENT|int(unix.SIGCHLD)))
		l.Send(child).When(child)
		l.ExitGroup(0).When(child)
		l.Wait() // or what it reports could come before its id
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
	// Supplementary groups go while this is allowed: outside for root, inside
	// for others unless setgroups is denied there, when the kernel lets nobody
	// drop them.
	kept := l.Setgroups().Tolerate(unix.EPERM)
	l.join(joins, first)
	l.Setgroups().Tolerate(unix.EPERM).When(kept)
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
