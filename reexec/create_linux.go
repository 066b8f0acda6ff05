package reexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// nsLinks are the links in /proc/PID/ns to the namespaces that a process has made, in the order of
// package gonso's types. New pid and time namespaces are for its children: they have links of their
// own.
var nsLinks = []struct {
	typ  uint32
	name string
}{
	{unix.CLONE_NEWCGROUP, "cgroup"}, {unix.CLONE_NEWIPC, "ipc"}, {unix.CLONE_NEWNS, "mnt"}, {unix.CLONE_NEWNET, "net"},
	{unix.CLONE_NEWPID, "pid_for_children"}, {unix.CLONE_NEWTIME, "time_for_children"},
	{unix.CLONE_NEWUSER, "user"}, {unix.CLONE_NEWUTS, "uts"},
}

// beforeMaps is called after namespaces are made, and before id maps are written. Tests make a
// launch wait here.
var beforeMaps = func(pid int) {}

// Made has the new namespaces of Create. It belongs to the caller.
type Made struct {
	Files  []*os.File // one for each type in Creation.Unshare, in the order of the names of the types
	Reaper *Reaper    // of a new pid namespace; nil if there is no new one

	types []uint32 // of Files
}

// Close closes the files and ends the Reaper.
func (m *Made) Close() {
	sys.CloseFiles(m.Files)
	if m.Reaper != nil {
		m.Reaper.Close()
	}
}

// Create makes namespaces in a launcher. The launcher ends when this process has their descriptors,
// or stays as the Reaper of a new pid namespace.
func Create(ctx context.Context, c *Creation) (*Made, error) {
	if handshake.Pending() {
		return nil, errSecondGeneration
	}
	runtime.LockOSThread() // the state looked at is the starting thread's
	locked := true
	unlock := func() {
		if locked {
			runtime.UnlockOSThread()
			locked = false
		}
	}
	defer unlock()
	c.by = newStarter(c.AtHome)
	stays := c.Unshare&newPID != 0
	if stays || c.Protect || joinsType(c.Join, newUser) {
		c.by.know() // more than one process is started
	}
	c.own = lookAtMaker(ctx, c.Protect)
	if stays || c.Protect { // the launcher may get an empty root
		c.chrooted = !joinsType(c.Join, unix.CLONE_NEWNS) && chrooted()
	}
	// A plain user may write to a process's files in /proc only if it is dumpable;
	// for root that makes no difference.
	dumpable := os.Geteuid() != 0 && len(c.procFiles()) > 0
	if dumpable && c.Protect {
		unlock()
		return createInTwo(ctx, c)
	}
	return createInOne(ctx, c, dumpable, unlock)
}

// createInTwo is for a launcher that must be dumpable for a while where somebody else may be root.
// That root can then take everything that the launcher has. So the launcher makes only the
// namespaces with files to write, and has nothing else. A second launcher, which is not dumpable,
// makes the rest.
func createInTwo(ctx context.Context, c *Creation) (*Made, error) {
	configured, rest := *c, *c
	configured.Unshare = 0
	for _, f := range c.procFiles() {
		configured.Unshare |= f.about
	}
	configured.Join = slices.DeleteFunc(slices.Clone(c.Join), func(j Join) bool {
		return j.Type != newUser && configured.Unshare&j.Type == 0
	})
	configured.Propagation, configured.Fresh, configured.LoopbackUp = 0, nil, false
	made, err := createInOne(ctx, &configured, true, func() {})
	rest.Unshare &^= configured.Unshare
	if err != nil || rest.Unshare == 0 && len(rest.Fresh) == 0 {
		return made, err
	}
	rest.UIDMap, rest.GIDMap, rest.DenySetgroups, rest.ClockOffsets = "", "", false, ""
	if i := slices.Index(made.types, newUser); i >= 0 {
		rest.Join = append(slices.Clone(c.Join), Join{Type: newUser, File: made.Files[i]})
	}
	others, err := createInOne(ctx, &rest, false, func() {})
	if err != nil {
		made.Close()
		return nil, err
	}
	made.Reaper = others.Reaper
	for i, f := range others.Files {
		made.add(others.types[i], f)
	}
	return made, nil
}

// createInOne calls started once the launcher has started, or has failed to start.
func createInOne(ctx context.Context, c *Creation, dumpable bool, started func()) (*Made, error) {
	name, stays := "gonso-create", c.Unshare&newPID != 0
	if stays {
		name = "gonso-init"
	}
	by := *c.by
	by.lasts = stays && by.like(ctx)
	l := creation(c, dumpable, by.lasts)
	sent, end, err := mailbox()
	if err != nil {
		return nil, err
	}
	defer sent.Close()
	proc, err := procfs.Root()
	if err != nil {
		end.Close()
		return nil, err
	}
	p, err := l.start(ctx, &by, &launcher.Cmd{
		Args: []string{name},
		// A launcher that opens nothing and executes nothing does not need its own streams.
		Stdin: end, Stdout: end, Stderr: end,
		Files: append([]*os.File{end, proc}, files(c.Join)...),
		Sys:   &syscall.SysProcAttr{Setsid: true}, // text typed at the terminal is not for it
	}, func() {
		end.Close()
		proc.Close()
	})
	started()
	if err != nil {
		return nil, err
	}
	group := p.Pid
	made := &Made{}
	err = l.take(ctx, c, p, sent, made)
	if err == nil && stays {
		made.Reaper = &Reaper{p: p, group: group, gone: make(chan struct{})}
		if err := p.CloseStatus(); err != nil {
			made.Close()
			return nil, err
		}
		return made, nil
	}
	if err != nil {
		p.Kill()
	}
	p.Close()
	state, werr := p.Reap(exitTimeout)
	if stays {
		reapOrphans(group)
	}
	switch {
	case err != nil:
	case errors.Is(werr, unix.ECHILD): // this program reaps every child, as an init does
	case werr != nil:
		err = fmt.Errorf("making namespaces: %w", werr)
	case !state.Success():
		err = fmt.Errorf("making namespaces: the launcher ended with %v", state)
	}
	if err != nil {
		made.Close()
		return nil, err
	}
	return made, nil
}

// creations are the launches that are composed already. Nobody changes them.
var creations struct {
	sync.Mutex
	of map[creationKey]*launch
}

// creationKey is for a launch that joins nothing and is about no path or id. It has everything that
// the launch depends on.
type creationKey struct {
	facts
	types                                 uint32
	propagation                           uintptr
	loopback, chrooted, dumpable, lasting bool
}

// maxCreations bounds the launches that are kept: a program makes few kinds of Sets.
const maxCreations = 64

// creation is composeCreation, but composes each kind of launch only once.
func creation(c *Creation, dumpable, lasting bool) *launch {
	if len(c.Join) > 0 || len(c.Fresh) > 0 || c.OwnerUID != nil || c.Protect || c.own.inherited != nil {
		return composeCreation(c, dumpable, lasting)
	}
	key := creationKey{c.own.facts, c.Unshare, c.Propagation, c.LoopbackUp, c.chrooted, dumpable, lasting}
	creations.Lock()
	defer creations.Unlock()
	l := creations.of[key]
	if l != nil {
		return l
	}
	l = composeCreation(c, dumpable, lasting)
	if l.Finish() == nil && len(creations.of) < maxCreations {
		if creations.of == nil {
			creations.of = make(map[creationKey]*launch)
		}
		creations.of[key] = l
	}
	return l
}

// take receives the namespaces that the launcher makes, gets their files written, and lets the
// launcher go on to its end.
func (l *launch) take(ctx context.Context, c *Creation, p *launcher.Process, sent *os.File, made *Made) error {
	if l.forks {
		if err := p.Follow(ctx); err != nil {
			return l.ended(p, "making namespaces", err)
		}
	}
	if err := p.Next(ctx); err != nil {
		return l.ended(p, "making namespaces", err)
	}
	// A pid namespace cannot be opened before it has a pid 1.
	stays := c.Unshare&newPID != 0
	if err := made.receive(sent, c.Unshare&^newPID); err != nil {
		return err
	}
	beforeMaps(p.Pid)
	if err := writeMaps(ctx, c, p.Pid); err != nil {
		return err
	}
	if err := p.Continue(); err != nil {
		return err
	}
	err := p.Next(ctx)
	if err == nil && stays {
		err = p.Next(ctx) // one Sync is the original's, one the init's
	}
	switch {
	case err == nil && stays:
		return made.receive(sent, newPID)
	case errors.Is(err, io.EOF) && !stays:
		return nil
	}
	return l.ended(p, "making namespaces", err)
}

// mailbox makes a pair of sockets: one to receive descriptors from, and one to send them to.
func mailbox() (receives, sends *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(pair[0]), "mailbox"), os.NewFile(uintptr(pair[1]), "mailbox"), nil
}

// receive takes the descriptors that the launcher has reported to have sent: all of them, or none.
func (m *Made) receive(sent *os.File, types uint32) error {
	if types == 0 {
		return nil
	}
	files, err := sys.ReceiveFiles(sent, bits.OnesCount32(types))
	if err != nil {
		return &LaunchError{Op: "receive", Type: types, Step: "recvmsg", Err: err}
	}
	for _, link := range nsLinks {
		if types&link.typ != 0 {
			m.add(link.typ, files[0])
			files = files[1:]
		}
	}
	return nil
}

// add adds a file in its place.
func (m *Made) add(typ uint32, f *os.File) {
	at := 0
	for _, link := range nsLinks {
		if link.typ == typ {
			break
		}
		if slices.Contains(m.types, link.typ) {
			at++
		}
	}
	m.Files, m.types = slices.Insert(m.Files, at, f), slices.Insert(m.types, at, typ)
}

// chrooted reports whether the root of this process is not the root of a mount, as after chroot(2).
// Kernels before 5.8 do not say. A thread may have another root.
func chrooted() bool {
	root, err := procfs.Link("self/root", unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	defer unix.Close(root)
	var st unix.Statx_t
	err = unix.Statx(root, "", unix.AT_EMPTY_PATH, 0, &st)
	return err == nil && st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT == 0
}

// writeMaps writes the maps. If they are relative to a joined user namespace, a launcher writes
// them from inside it.
func writeMaps(ctx context.Context, c *Creation, pid int) error {
	for _, j := range slices.Backward(c.Join) { // the last one joined is the parent
		if j.Type == unix.CLONE_NEWUSER {
			return runMapper(ctx, c, j, pid)
		}
	}
	files := c.procFiles()
	if len(files) == 0 {
		return nil
	}
	d, err := procfs.Process(pid)
	if err != nil {
		return &LaunchError{Op: "open", Type: files[0].about, Step: "open /proc/PID", Path: procfs.Path(pid), Err: err}
	}
	defer d.Close()
	for _, m := range files {
		if tool := c.mapTool(m.name); tool != "" {
			if err := runMapTool(ctx, tool, m, d); err != nil {
				return err
			}
			continue
		}
		if err := d.WriteFile(m.name, m.content); err != nil {
			return &LaunchError{Op: "write " + m.name + " of", Type: m.about, Step: fmt.Sprintf("write %q to %s", m.content, m.name), Err: err}
		}
	}
	return nil
}

func runMapper(ctx context.Context, c *Creation, user Join, pid int) error {
	if len(c.procFiles()) == 0 {
		return nil
	}
	d, err := procfs.Process(pid)
	if err != nil {
		return &LaunchError{Op: "open", Type: unix.CLONE_NEWUSER, Step: "open /proc/PID", Path: procfs.Path(pid), Err: err}
	}
	l := composeMapper(c, user)
	p, err := l.start(ctx, c.by, &launcher.Cmd{Args: []string{"gonso-idmap"}, Files: []*os.File{user.File, d.File()}}, func() { d.Close() })
	if err != nil {
		return err
	}
	defer p.Reap(exitTimeout)
	defer p.Close()
	err = p.Next(ctx)
	if errors.Is(err, io.EOF) {
		return nil
	}
	p.Kill()
	return l.ended(p, "writing id maps", err)
}
