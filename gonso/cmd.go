package gonso

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// Cmd is a program that runs in the namespaces of a Set. It is used like exec.Cmd. The
// documentation of exec.Cmd holds here, too, unless this one says otherwise. A Cmd cannot be used
// again after Run, Output, CombinedOutput or Start.
type Cmd struct {
	// Path is the program. It is looked up inside when the command starts. A name without a slash
	// is looked for in the absolute directories of PATH. PATH is the one of the command's
	// environment, or of this process if that sets no PATH. A relative path with a slash is
	// relative to Dir or DirFile.
	Path string

	// Exe, if not nil, is the program in place of Path: an executable file from outside, open in
	// any mode, O_PATH included. It cannot be a script. A dynamically linked program needs its
	// loader in the Set's mount namespace. The file belongs to the caller, who keeps it open until
	// Start has returned.
	//
	// In a Set with user, pid or mnt namespaces that somebody else made, each Start makes a sealed
	// copy and executes that. So the file must be readable, and its setuid bit and capabilities do
	// not count.
	Exe *os.File

	// DynamicLoader lets Exe or Self be dynamically linked if the root directory is somebody
	// else's. This is the root of a mnt namespace that somebody else made. It is also a Chroot in a
	// Set with user, pid or mnt namespaces that somebody else made. The program runs the loader and
	// the libraries that it finds there. Without DynamicLoader, Start refuses a dynamically linked
	// program: build it with CGO_ENABLED=0.
	DynamicLoader bool

	Args []string // with the name as Args[0]; if empty, Path

	// Env is the environment. Of duplicates the last one counts. Nil is the environment of this
	// process. In Sets with user, pid or mnt namespaces that somebody else made, root could read
	// that. There nil is PATH, LANG, TZ and the variables of the Go runtime.
	Env []string

	// Dir is the working directory, a path inside. "Relative paths" in the package's documentation
	// says where a relative one begins. Empty is the working directory of this process. In another
	// mount namespace empty is the same path, if Unshare made the namespace from this process's and
	// the path exists. Otherwise it is the root directory, or Chroot. In another mount namespace no
	// links of procfs are followed on the way to Dir and to Chroot.
	Dir string

	// DirFile, if not nil, is the working directory in place of Dir: an open directory. It belongs
	// to the caller, who keeps it open until Start has returned. It excludes Dir and Chroot.
	//
	// In a Set with a mount namespace that somebody else made, Start refuses a directory of this
	// program's own mount namespace. From there ".." would lead to all of the host's files. Open
	// the directory by [Set.OpenFile] there.
	DirFile *os.File

	// Chroot is the root directory, a path inside, as Dir. The working directory is below it. Empty
	// is the root of this process or, in another mount namespace, the root of that.
	Chroot string

	// The standard streams and, as descriptors from 3 on, other files. The program gets no other
	// descriptors. It does not even inherit descriptors that this process leaks to its children.
	Stdin      io.Reader
	Stdout     io.Writer
	Stderr     io.Writer
	ExtraFiles []*os.File

	// KeepIDs leaves the program the uid and gid of this process, see [Worker].KeepIDs. Without it,
	// the program becomes root of the Set's user namespace, if the Set has one.
	KeepIDs bool

	// Credential has the ids of the program, as they are inside. With nil, KeepIDs decides. It
	// takes CAP_SETUID and CAP_SETGID. Joining the Set's user namespace grants them. With a uid
	// other than 0 the program has only the capabilities of AmbientCaps, and looks up Dir and Path
	// with no others.
	Credential *Credential

	// Capabilities are all capability sets of the program. With nil, the program's ids, AmbientCaps
	// and the Set decide. Bounding is set before the ids of Credential, and the other sets after
	// them. Dropping from the bounding set takes CAP_SETPCAP. Permitted can have only capabilities
	// that a process has after it has joined the Set: all of them, if the Set has a user namespace.
	// Capabilities exclude AmbientCaps.
	Capabilities *Capabilities

	// NoNewPrivs sets no_new_privs: the program, and all that it executes, gets no privileges from
	// setuid bits and file capabilities (PR_SET_NO_NEW_PRIVS of prctl(2)).
	NoNewPrivs bool

	// Umask is the mask for the modes of new files, from 0 to 0777. With nil it is this process's
	// mask, or 022 in Sets with user, pid or mnt namespaces that somebody else made.
	Umask *int

	// Rlimits are limits of the program. They count from the moment at which it is executed. A hard
	// limit above the one of this process takes CAP_SYS_RESOURCE in the initial user namespace, and
	// not in one of the Set (prlimit(2)).
	Rlimits []Rlimit

	// OOMScoreAdj says how readily the kernel kills the program when memory is short, from -1000
	// (never) to 1000 (proc_pid_oom_score_adj(5)). With nil it is this process's value. In Sets
	// with user, pid or mnt namespaces that somebody else made, a negative value of this process is
	// not passed on. A lower value than this process's takes CAP_SYS_RESOURCE in the initial user
	// namespace, unless a process with that capability has raised the value before.
	OOMScoreAdj *int

	// AmbientCaps are capabilities (CAP_*) that a program without uid 0 keeps. Empty asks for no
	// capabilities. But if the Set's user namespace maps no uid 0, and neither Credential nor
	// KeepIDs is set, the program has all of them, like root.
	AmbientCaps []uintptr

	// Setsid gives the program a new session, and Setctty gives that session Ctty, a descriptor of
	// the program, as its terminal. Setpgid gives it a new process group. Without them the program
	// is in the session and process group of this process. In Sets with user, pid or mnt namespaces
	// that somebody else made it is in a session of its own.
	Setsid, Setctty bool
	Ctty            int
	Setpgid         bool

	// KeepSession leaves the program in the session of this process there, too. The program then
	// has the terminal of this session, with job control. Root inside has it as well, by tracing
	// the program or by running in its place. If the kernel has TIOCSTI, root inside can type at
	// that terminal.
	KeepSession bool

	// HostFiles lets the program be in a pid namespace of somebody else while it has the files of
	// this program. [Worker].HostFiles does the same for functions.
	HostFiles bool

	// Pdeathsig is a syscall.Signal that the program gets when the thread ends on which Start was
	// called: use runtime.LockOSThread. Executing a program that is setuid or has file capabilities
	// takes the signal back. With nil there is no signal. Start refuses Pdeathsig on a thread that
	// is not in this program's own namespaces, because another thread has to start the program
	// then.
	Pdeathsig os.Signal

	// Cgroup is a directory of cgroup v2, open, in which the program is started (CLONE_INTO_CGROUP,
	// Linux 5.7). With nil the program is in the cgroup of this process.
	Cgroup *os.File

	// Process is this process's own child, in a pid namespace too. Set by Start.
	Process      *os.Process
	ProcessState *os.ProcessState // set by Wait

	// Cancel is called when the context is done. WaitDelay bounds the time after that: see
	// exec.Cmd. Without WaitDelay, Wait waits for every process inside that has inherited a pipe
	// and keeps it open.
	Cancel    func() error
	WaitDelay time.Duration

	Err error // why there is nothing to start, or nil

	set     *Set
	ctx     context.Context
	self    bool
	gate    *gate
	inner   *exec.Cmd // of the launcher, which becomes the program
	called  atomic.Bool
	started bool
	release func() // releases the resources that are held until Wait, or nil

	atTerminal bool // this process was in the foreground of its terminal, and the program may take it
}

// Credential has ids for a process.
type Credential struct {
	UID, GID    uint32
	Groups      []uint32 // supplementary; empty drops them all
	NoSetGroups bool     // leaves them as they are
}

// Command returns the Cmd to run a program in the Set. A launcher of a few hundred bytes enters the
// namespaces, and the program takes its place. So there is no process in between, and this process
// is not forked. All names are looked up inside. See [Cmd.Start] for errors.
//
// The context works as in exec.CommandContext: the process is killed if the context ends first.
//
// For the types that the Set does not have, the program is in the namespaces of this program, even
// if a closure of another Set calls Start. The program lacks all privileges that the calling thread
// has dropped. Start fails on a thread that has dropped privileges and is in another Set.
//
// It needs CAP_SYS_ADMIN for the namespaces that a user namespace of the Set does not own.
func (s *Set) Command(ctx context.Context, name string, args ...string) *Cmd {
	c := &Cmd{Path: name, Args: append([]string{name}, args...), set: s, ctx: ctx}
	if c.Err = checkContext(ctx, "start"); c.Err != nil {
		c.ctx = context.Background()
	}
	c.gate = newGate(c.ctx)
	c.inner = exec.CommandContext(c.gate, "/launcher") // Start knows its path; a bare name would be looked up now
	c.Cancel = func() error { return c.Process.Kill() }
	return c
}

var (
	errNoCommand  = errors.New("gonso: Cmd without a command; they are made by Set.Command")
	errStarted    = errors.New("exec: already started")
	errNotStarted = errors.New("exec: not started")
)

// String shows the command in a line, for people.
func (c *Cmd) String() string {
	args := c.Args
	if len(args) > 0 {
		args = args[1:]
	}
	return (&exec.Cmd{Path: c.Path, Args: append([]string{c.Path}, args...)}).String()
}

// Environ is the environment that the program would get.
func (c *Cmd) Environ() []string { return c.environment().Environ() }

// environment makes package exec fill in the environment.
func (c *Cmd) environment() *exec.Cmd {
	e := &exec.Cmd{Env: c.Env, Dir: c.Dir}
	if e.Env == nil && c.set != nil && c.set.exposed() {
		e.Env = c.set.reducedEnv()
		if c.Dir != "" {
			e.Env = append(e.Env, "PWD="+c.Dir)
		}
	}
	return e
}

// Start starts the program and does not wait for it. The caller must call Wait after that. The
// command holds the Set's namespaces until Wait has returned, also if the Set is closed.
//
// Start returns every error up to the execution of the program. After an error nothing is left. The
// error matches exec.ErrNotFound if a name is not in PATH, fs.ErrNotExist or fs.ErrPermission for
// the file or Dir inside, and [ErrClosed] for the Set. A refusal by namespaces is an [*Error]. If
// the program exists and its interpreter or loader does not, the error matches fs.ErrNotExist, and
// its Hint names the missing file.
func (c *Cmd) Start() error {
	if c.inner == nil {
		return errNoCommand
	}
	if c.called.Swap(true) {
		return errStarted
	}
	var err error
	c.onThreadAtHome(func() { err = c.start() })
	return err
}

func (c *Cmd) start() error {
	p, err := c.prepare()
	defer p.close()
	stdin := holdBack(c.Stdin)
	in := c.inner
	in.Path, in.Args, in.Env, in.ExtraFiles, in.SysProcAttr = p.path, c.Args, p.env, p.files, p.sys
	if len(c.Args) == 0 {
		in.Args = []string{c.Path}
	}
	in.Stdin, in.Stdout, in.Stderr = stdin.reader(), c.Stdout, c.Stderr
	in.Cancel, in.WaitDelay = c.Cancel, c.WaitDelay
	if err == nil {
		var done func()
		done, err = replaceNull(in)
		defer done()
	}
	in.Err = err // with an error, Start of package exec starts nothing, and closes the pipes
	start := in.Start
	if p.start != nil {
		start = func() error { return p.start(in.Start) }
	}
	if err := start(); err != nil {
		if in.Process != nil { // it came to nothing
			_ = in.Process.Kill()
			stdin.fail()
			_ = c.await(in)
		}
		c.letGo()
		var pe *os.PathError
		if errors.As(err, &pe) && p.path != "" && pe.Path == p.path { // its arguments are the program's
			pe.Path = c.Path
		}
		return err
	}
	if in.Process, err = p.follow(in.Process); err != nil {
		_ = in.Process.Kill()
		stdin.fail()
		if werr := c.await(in); errors.Is(werr, sys.ErrLeftBehind) {
			err = errors.Join(err, werr)
		}
		c.letGo()
		return err
	}
	stdin.open()
	c.Process, c.started = in.Process, true
	c.gate.open()
	return nil
}

// prepared has the values that Start passes to an exec.Cmd, and the steps after that.
type prepared struct {
	path  string     // of the launcher, which becomes the program
	files []*os.File // from descriptor 3 on
	env   []string
	sys   *syscall.SysProcAttr

	// follow waits until the program has taken over, and returns its process. With an error it
	// returns the process that must be killed.
	follow func(started *os.Process) (*os.Process, error)
	start  func(start func() error) error // makes sure that a start ends, or nil
	done   func()                         // releases the resources of the start, or nil
}

func (p *prepared) close() {
	if p.done != nil {
		p.done()
	}
}

// prepare makes all checks that need no process.
func (c *Cmd) prepare() (prepared, error) {
	if c.Err == nil && c.Path == "" && c.Exe == nil {
		c.Err = errors.New("exec: no command")
	}
	err := c.Err
	if err == nil {
		err = c.ctx.Err()
	}
	if err == nil {
		err = c.closedFile()
	}
	if err != nil {
		return prepared{}, err
	}
	return c.prepareInside()
}

// closedFile finds files that were closed. Without this check they would be missing in the program,
// without an error.
func (c *Cmd) closedFile() error {
	check := func(name string, v any) error {
		f, ok := v.(*os.File)
		if !ok || f == nil {
			return nil
		}
		conn, err := f.SyscallConn()
		if err == nil {
			err = conn.Control(func(uintptr) {})
		}
		if err != nil { // its type is known only to package os
			return newError("start", 0, name, os.ErrClosed)
		}
		return nil
	}
	errs := []error{
		check("Stdin", c.Stdin), check("Stdout", c.Stdout), check("Stderr", c.Stderr),
		check("Exe", c.Exe), check("Cgroup", c.Cgroup), check("DirFile", c.DirFile),
	}
	for i, f := range c.ExtraFiles {
		errs = append(errs, check("ExtraFiles["+strconv.Itoa(i)+"]", f))
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// letGo releases the resources that are held until Wait.
func (c *Cmd) letGo() {
	if c.release != nil {
		c.release()
		c.release = nil
	}
}

// Wait waits for the end of the program and for the copying of its streams, as exec.Cmd does. For
// every end but exit status 0 the error is an *exec.ExitError.
//
// An interactive shell puts its own process group in the foreground of the terminal. In a pid
// namespace it cannot undo that when it ends. Wait undoes it, if this process was in the foreground
// at Start, and the group in the foreground now is the program's or is empty. Wait does so in Sets
// with a pid namespace, and in other Sets if Stdin is a file.
func (c *Cmd) Wait() error {
	if !c.started {
		return errNotStarted
	}
	err := c.await(c.inner)
	if !errors.Is(err, sys.ErrLeftBehind) && c.inner.ProcessState != nil {
		c.ProcessState = c.inner.ProcessState
	}
	c.takeTerminalBack()
	c.gate.close()
	c.letGo()
	return err
}

// await waits for the end of the process that was started. If the process was killed, and cannot be
// reaped, a goroutine waits for it from then on: a tracer may keep it as long as it likes. That is
// so once the context is done, or if the program never took over.
func (c *Cmd) await(in *exec.Cmd) error {
	pid := in.Process.Pid
	done := make(chan error, 1)
	go func() { done <- in.Wait() }()
	if c.started {
		select {
		case err := <-done:
			return err
		case <-c.ctx.Done():
		}
	}
	var stuck time.Time // since when
	for {
		select {
		case err := <-done:
			return err
		case <-time.After(killedPoll):
		}
		switch reaped := errors.Is(in.Process.Signal(syscall.Signal(0)), os.ErrProcessDone); {
		case reaped || !procfs.Killed(pid):
			stuck = time.Time{} // it was reaped: WaitDelay bounds the wait for its streams
		case stuck.IsZero():
			stuck = time.Now()
		case time.Since(stuck) >= sys.KillTimeout:
			return errors.Join(c.ctx.Err(), newError("wait", 0, "", procfs.Stuck(pid)))
		}
	}
}

// killedPoll is how often gonso checks whether somebody keeps a killed process.
const killedPoll = 50 * time.Millisecond

// Run starts the program and waits for its end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program and returns what it prints. If Stderr is nil, an *exec.ExitError has the
// text of standard error.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("exec: Stdout already set")
	}
	var out bytes.Buffer
	var ends headTail
	c.Stdout = &out
	capture := c.Stderr == nil
	if capture {
		c.Stderr = &ends
	}
	err := c.Run()
	var ee *exec.ExitError
	if capture && errors.As(err, &ee) {
		ee.Stderr = ends.bytes()
	}
	return out.Bytes(), err
}

// CombinedOutput runs the program and returns what it prints on both streams.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errors.New("exec: Stdout already set")
	}
	if c.Stderr != nil {
		return nil, errors.New("exec: Stderr already set")
	}
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	err := c.Run()
	return b.Bytes(), err
}

// StdinPipe returns a pipe to the program's standard input. Wait closes it.
func (c *Cmd) StdinPipe() (io.WriteCloser, error) {
	if err := c.before("StdinPipe"); err != nil {
		return nil, err
	}
	c.inner.Stdin = c.Stdin
	w, err := c.inner.StdinPipe()
	c.Stdin = c.inner.Stdin
	return w, err
}

// StdoutPipe returns a pipe from the program's standard output. Wait closes it, so read all of it
// before.
func (c *Cmd) StdoutPipe() (io.ReadCloser, error) {
	if err := c.before("StdoutPipe"); err != nil {
		return nil, err
	}
	c.inner.Stdout = c.Stdout
	r, err := c.inner.StdoutPipe()
	c.Stdout = c.inner.Stdout
	return r, err
}

// StderrPipe is StdoutPipe for standard error.
func (c *Cmd) StderrPipe() (io.ReadCloser, error) {
	if err := c.before("StderrPipe"); err != nil {
		return nil, err
	}
	c.inner.Stderr = c.Stderr
	r, err := c.inner.StderrPipe()
	c.Stderr = c.inner.Stderr
	return r, err
}

// before refuses a method that must be called before Start, and is called later.
func (c *Cmd) before(method string) error {
	switch {
	case c.inner == nil:
		return errNoCommand
	case c.called.Load():
		return errors.New("exec: " + method + " after process started")
	}
	return nil
}

// heldBack is standard input that nobody reads before the program has started. A launch that fails
// would lose the bytes that it has read, and reading might take forever.
type heldBack struct {
	r      io.Reader
	ready  chan struct{} // closed when failed is known
	failed bool
}

func holdBack(r io.Reader) *heldBack { return &heldBack{r: r, ready: make(chan struct{})} }

// reader is for an exec.Cmd, which hands files to the program as they are.
func (h *heldBack) reader() io.Reader {
	if _, file := h.r.(*os.File); file || h.r == nil {
		return h.r
	}
	return h
}

// open lets the copying begin.
func (h *heldBack) open() { close(h.ready) }

// fail ends the copying before it began.
func (h *heldBack) fail() {
	h.failed = true
	close(h.ready)
}

func (h *heldBack) Read(p []byte) (int, error) {
	<-h.ready
	if h.failed {
		return 0, io.EOF
	}
	return h.r.Read(p)
}

// WriteTo lets io.Copy use the reader's own WriteTo.
func (h *heldBack) WriteTo(w io.Writer) (int64, error) {
	<-h.ready
	if h.failed {
		return 0, nil
	}
	return io.Copy(w, h.r)
}

// gate is a context that is not done before it is opened. By then the process that must be ended is
// known.
type gate struct {
	context.Context
	done chan struct{}
	stop func() bool
}

func newGate(ctx context.Context) *gate {
	g := &gate{Context: ctx}
	if ctx.Done() != nil {
		g.done = make(chan struct{})
	}
	return g
}

func (g *gate) Done() <-chan struct{} { return g.done }
func (g *gate) Value(any) any         { return nil }

func (g *gate) open() {
	if g.done != nil {
		g.stop = context.AfterFunc(g.Context, func() { close(g.done) })
	}
}

func (g *gate) close() {
	if g.stop != nil {
		g.stop()
	}
}

// headTail keeps the beginning and the end of the data that is written to it.
type headTail struct {
	head, tail []byte
	omitted    int
}

const headTailSize = 32 << 10

func (h *headTail) Write(p []byte) (int, error) {
	n := len(p)
	take := min(headTailSize-len(h.head), len(p))
	h.head = append(h.head, p[:take]...)
	h.tail = append(h.tail, p[take:]...)
	if over := len(h.tail) - headTailSize; over > headTailSize {
		h.omitted += over
		h.tail = append(h.tail[:0], h.tail[over:]...)
	}
	return n, nil
}

func (h *headTail) bytes() []byte {
	if over := len(h.tail) - headTailSize; over > 0 {
		h.omitted += over
		h.tail = h.tail[over:]
	}
	if h.omitted == 0 {
		return append(h.head, h.tail...)
	}
	note := "\n... omitting " + strconv.Itoa(h.omitted) + " bytes ...\n"
	return append(append(h.head, note...), h.tail...)
}
