//go:build linux

package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// Cmd says what to start.
type Cmd struct {
	List *List    // must not be changed while the Process is in use
	Args []string // for Execve and Execveat; nil means one, the launcher's name
	Env  []string // for Execve and Execveat; nil means empty, not this program's

	// The files remain the caller's. Nil streams are /dev/null. Files become FirstFileFD and so on;
	// a nil one is left closed.
	Stdin, Stdout, Stderr *os.File
	Files                 []*os.File

	Dir string // "" is the current directory
	Sys *syscall.SysProcAttr
}

// A Process is a launcher, or the program that it has become. It must be closed, and the os.Process waited for, in any
// order. Next, NextValue and Continue are for one goroutine at a time.
type Process struct {
	*os.Process
	list            *List
	control, status *os.File
}

// Prepared is a launcher that has everything it needs except a process.
type Prepared struct {
	Path  string     // the launcher's executable, as the process finds it among its files
	Files []*os.File // the descriptors of the process from 3 on

	list            *List
	rest            []byte     // of the encoded list
	ends            []*os.File // the launcher's, of its pipes
	control, status *os.File   // ours; nil once the Process has them
	done            func()     // releases the image
}

// Prepare prepares a launcher for a caller that starts the process itself, with arguments, environment and streams of its
// choice. Files become FirstFileFD and so on, and stay the caller's. A Prepared must be closed, started or not.
//
// This caller can try only once. So Prepare first makes sure that no policy forbids to execute the
// launcher.
func Prepare(list *List, files []*os.File) (*Prepared, error) {
	if err := prove(); err != nil {
		return nil, err
	}
	return prepare(list, files)
}

func prepare(list *List, files []*os.File) (*Prepared, error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	if err := procfs.Executable(); err != nil {
		return nil, err
	}
	if list == nil {
		return nil, errors.New("launcher: no List")
	}
	encoded, err := list.Encode()
	if err != nil {
		return nil, err
	}
	return prepareEncoded(list, encoded, files)
}

func prepareEncoded(list *List, encoded []byte, files []*os.File) (_ *Prepared, err error) {
	exe, done, err := image.get()
	if err != nil {
		return nil, err
	}
	// The number is the child's: the path is resolved when its files are in place.
	path := fmt.Sprintf("/proc/self/fd/%d", ImageFD) // path: execve takes it, on a thread that is at home
	p := &Prepared{Path: path, list: list, done: done}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	controlEnd, control, err := pipe()
	if err != nil {
		return nil, err
	}
	theirs := os.NewFile(uintptr(controlEnd), "control")
	p.control, p.ends = ours(control, "control"), []*os.File{theirs}
	status, statusEnd, err := pipe()
	if err != nil {
		return nil, err
	}
	p.status, p.ends = ours(status, "status"), append(p.ends, os.NewFile(uintptr(statusEnd), "status"))
	p.Files = append([]*os.File{theirs, p.ends[1], exe}, files...)
	// The launcher need not wait for bytes that are written before its start. An empty pipe has
	// room for 4096 bytes, even if its user is over the quota for pipes. The rest is read while it
	// is written.
	first := min(len(encoded), 4096)
	p.rest = encoded[first:]
	_, err = p.control.Write(encoded[:first])
	return p, err
}

// pipe is os.Pipe, but both ends block. The launcher's end must block, and is never given to the
// runtime's poller.
func pipe() (r, w int, err error) {
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return -1, -1, os.NewSyscallError("pipe2", err)
	}
	return p[0], p[1], nil
}

// ours makes an end one that has deadlines.
func ours(end int, name string) *os.File {
	_, _ = unix.FcntlInt(uintptr(end), unix.F_SETFL, unix.O_NONBLOCK) // without this flag os.NewFile gives no deadlines
	return os.NewFile(uintptr(end), name)
}

// Started makes a Process of the started os.Process, and sends it the rest of its list. After an
// error the os.Process is of no use: the caller must kill it and wait for it.
func (p *Prepared) Started(process *os.Process) (*Process, error) {
	closeAll(p.ends) // so that writing fails once the launcher is gone
	if len(p.rest) > 0 {
		err := write(p.control, p.rest)
		if errors.Is(err, unix.EPIPE) {
			return nil, (&Process{Process: process}).Killed(err)
		}
		if err != nil {
			return nil, fmt.Errorf("launcher: writing the list: %w", err)
		}
	}
	started := &Process{Process: process, list: p.list, control: p.control, status: p.status}
	p.control, p.status = nil, nil
	return started, nil
}

// Close releases everything that a Process has not taken over.
func (p *Prepared) Close() {
	closeAll(p.ends)
	closeAll([]*os.File{p.control, p.status})
	p.done()
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close() // does nothing if f is nil or closed
	}
}

// proven is set once the image has been executed: no policy forbids that.
var proven atomic.Bool

// prove executes the image once.
func prove() error {
	if proven.Load() {
		return nil
	}
	var p *Process
	var err error
	procfs.AtHome(func() { p, err = Start(&Cmd{List: new(List)}) })
	if err != nil {
		return err
	}
	p.Close()
	p.Reap(writeTimeout)
	return nil
}

// busyRetries bounds how often an image is tried if somebody has it open for writing. The tries are
// a millisecond apart.
const busyRetries = 100

// Start starts a launcher. On the calling thread, paths must mean what they mean to this program,
// because the launcher's executable is found by a path: see [procfs.Away].
func Start(c *Cmd) (*Process, error) {
	p, err := prepare(c.List, c.Files)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	return p.start(c)
}

func (p *Prepared) start(c *Cmd) (*Process, error) {
	null, err := devNull(c)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	attr := &os.ProcAttr{Dir: c.Dir, Sys: c.Sys}
	attr.Env = append([]string{}, c.Env...) // nil would be this program's
	for _, f := range []*os.File{c.Stdin, c.Stdout, c.Stderr} {
		if f == nil {
			f = null
		}
		attr.Files = append(attr.Files, f)
	}
	attr.Files = append(attr.Files, p.Files...)
	args := c.Args
	if len(args) == 0 {
		args = []string{"gonso-launcher"}
	}
	process, err := os.StartProcess(p.Path, args, attr)
	if errors.Is(err, fs.ErrPermission) && (c.Sys == nil || !c.Sys.UseCgroupFD) { // a policy may let memfds be made, but not executed
		if image.refuse(attr.Files[ImageFD]) {
			exe, done, getErr := image.get()
			if getErr != nil {
				return nil, errors.Join(err, getErr)
			}
			defer done()
			attr.Files[ImageFD] = exe
			process, err = os.StartProcess(p.Path, args, attr)
		}
	}
	// ETXTBSY still happens on file systems without leases.
	for range busyRetries {
		if !errors.Is(err, unix.ETXTBSY) {
			break
		}
		time.Sleep(time.Millisecond)
		process, err = os.StartProcess(p.Path, args, attr)
	}
	if err != nil {
		return nil, p.notStarted(err)
	}
	proven.Store(true)
	started, err := p.Started(process)
	if err != nil {
		(&Process{Process: process}).Reap(0)
	}
	return started, err
}

// notStarted names the launcher in the error. The launcher's path would mean nothing to anybody.
func (p *Prepared) notStarted(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok && pe.Path == p.Path {
		return &StartError{pe.Err}
	}
	return err
}

// StartError says why no launcher was started.
type StartError struct{ Err error }

func (e *StartError) Error() string { return "starting the launcher: " + e.Err.Error() }

// Unwrap returns Err.
func (e *StartError) Unwrap() error { return e.Err }

// devNull returns nil if no stream of c needs it.
func devNull(c *Cmd) (*os.File, error) {
	if c.Stdin != nil && c.Stdout != nil && c.Stderr != nil {
		return nil, nil
	}
	return sys.Null()
}

// Next waits until the launcher reaches the next Sync or Send of its list and returns nil, or a [*StepError] if a step
// before it failed, or [io.EOF] if the launcher has become another program or is gone. When ctx is done first, it returns
// ctx's cause, and may be called again.
func (p *Process) Next(ctx context.Context) error {
	_, err := p.NextValue(ctx)
	return err
}

// NextValue is Next for a Send: it returns the value that was sent.
func (p *Process) NextValue(ctx context.Context) (int64, error) {
	if p.comesSoon() {
		return p.next(ctx)
	}
	cancelled := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		p.status.SetReadDeadline(time.Unix(1, 0))
		close(cancelled)
	})
	v, err := p.next(ctx)
	if !stop() {
		<-cancelled
		p.status.SetReadDeadline(time.Time{})
	}
	return v, err
}

// soon is how long to wait for a record with poll(2) only. Most launchers are done by then. So no
// timer, and not the runtime's poller, has to wake another thread.
const soon = 5 * time.Millisecond

// comesSoon waits for a record, or the end, but not for long.
func (p *Process) comesSoon() (came bool) {
	_ = sys.OnFD(p.status, func(fd int) error {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(fds, int(soon/time.Millisecond))
		came = n == 1
		return nil
	})
	return came
}

// next reads the record that comes next.
func (p *Process) next(ctx context.Context) (int64, error) {
	var record [recordSize]byte
	n, err := io.ReadFull(p.status, record[:]) // all of it or nothing: pipes write a record in one piece
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return 0, context.Cause(ctx)
	case err == io.ErrUnexpectedEOF:
		return 0, fmt.Errorf("launcher: status record %x is cut short", record[:n])
	case err != nil:
		return 0, err
	}
	return p.list.decode(record)
}

// followPatience is how long Follow waits for an id when ctx is done. The id comes at once, unless
// the launcher is stopped.
const followPatience = 5 * time.Second

// Follow is for lists that go on in a child made with CLONE_PARENT. The original sends the id of
// the child and exits, while the child waits. This is the way into a pid namespace: no running
// process can enter one. Afterwards, p is the child, which was told to go on, and the original has
// been reaped.
//
// When ctx is done first, p is the child if its id has come, or else the original, and the error is
// ctx's cause.
func (p *Process) Follow(ctx context.Context) error {
	pid, err := p.NextValue(ctx)
	if err != nil && ctx.Err() != nil {
		// If the wait ended after the child is made and before its id comes, nobody could reap the
		// child.
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), followPatience)
		defer cancel()
		if pid, lateErr := p.NextValue(late); lateErr == nil {
			return errors.Join(err, p.adopt(pid))
		}
	}
	if err != nil {
		return err
	}
	return errors.Join(p.adopt(pid), p.Continue())
}

// adopt makes p the child that the original has made.
func (p *Process) adopt(pid int64) error {
	// It is this process's child, so nobody else can have reaped it and its id means nothing else.
	child, err := os.FindProcess(int(pid))
	if err != nil {
		return err
	}
	original := p.Process
	p.Process = child
	// A program that reaps every child, as an init does, may have been faster.
	if _, err = (&Process{Process: original}).Reap(writeTimeout); errors.Is(err, syscall.ECHILD) {
		err = nil
	}
	return err
}

// decode returns the value of a record, or the failure that it reports.
func (l *List) decode(record [recordSize]byte) (int64, error) {
	addr := getWord(record[:])
	result := int64(int(getWord(record[wordSize:]))) // an error is negative in its word
	if addr == dataBase {
		return 0, newStepError(-1, "read", "read(control, list)", result)
	}
	const size = unsafe.Sizeof(step{})
	offset := addr&^reached - stepAddr(0) // huge if negative
	if offset%size == 0 && offset/size < uintptr(len(l.steps)) {
		switch s := l.steps[offset/size]; {
		case addr&reached == 0:
			return 0, newStepError(s.index, s.name, s.String(), result)
		case s.reports:
			return result, nil
		}
	}
	return 0, fmt.Errorf("launcher: status record %x makes no sense", record)
}

// Continue lets the launcher go on behind the Wait that it has reached or will reach next.
func (p *Process) Continue() error {
	return write(p.control, []byte{1})
}

// writeTimeout is how long a launcher may take to read. It does so at once, unless it is stopped.
const writeTimeout = 2 * time.Second

func write(control *os.File, b []byte) error {
	var n int
	_ = sys.OnFD(control, func(fd int) error { // without a deadline's timer: the pipe usually has room
		n, _ = unix.Write(fd, b)
		return nil
	})
	if n == len(b) {
		return nil
	}
	b = b[max(n, 0):]
	_ = control.SetWriteDeadline(time.Now().Add(writeTimeout)) // if it is closed, write fails
	_, err := control.Write(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("the launcher does not go on: it is stopped, frozen or traced: %w", err)
	}
	return err
}

// Reap waits for the end of the process. If it does not end by itself in time, it is killed. If it
// cannot be reaped then, the error is a [*procfs.StuckError], and a goroutine reaps it when the
// kernel has ended it.
func (p *Process) Reap(byItself time.Duration) (*os.ProcessState, error) {
	return Reap(p.Process, byItself, func() time.Duration {
		p.Kill()
		return sys.KillTimeout
	})
}

// endsWithin reports whether p ends in time, and can be reaped at once. False may also mean that
// this is not known.
func endsWithin(p *os.Process, limit time.Duration) (reapable bool) {
	_ = p.WithHandle(func(handle uintptr) {
		var info unix.Siginfo // it stays empty for a zombie that is traced
		reapable = EndsWithin(int(handle), limit) &&
			unix.Waitid(unix.P_PIDFD, int(handle), &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) == nil &&
			info.Signo != 0
	})
	return reapable
}

// EndsWithin waits until the process of a pidfd has ended, but not longer than limit. It reports
// whether the process has ended.
func EndsWithin(pidfd int, limit time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for end := time.Now().Add(limit); limit > 0; limit = time.Until(end) {
		n, err := unix.Poll(fds, int(limit/time.Millisecond)+1)
		if err != unix.EINTR {
			return err == nil && n == 1
		}
	}
	return false
}

// TakesOrphans reports whether orphans may become children of this process: as pid 1, or as a subreaper (prctl(2)).
func TakesOrphans() bool {
	var subreaper int32
	return os.Getpid() == 1 ||
		unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&subreaper)), 0, 0, 0) == nil && subreaper != 0
}

// Ended returns the id of a child of this process that has ended and was not reaped, or 0.
func Ended() int {
	var info unix.Siginfo
	if unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil) != nil || info.Signo == 0 {
		return 0
	}
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), siUnion)))
}

// KilledBy returns the signal that has killed a process that is about to end. It returns 0 if no
// signal has, or if this is not known. The process must still be reaped.
func (p *Process) KilledBy(limit time.Duration) (sig syscall.Signal) {
	if !endsWithin(p.Process, limit) {
		return 0
	}
	_ = p.WithHandle(func(handle uintptr) {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PIDFD, int(handle), &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		if err == nil && (info.Code == cldKilled || info.Code == cldDumped) {
			sig = syscall.Signal(*(*int32)(unsafe.Add(unsafe.Pointer(&info), siStatus)))
		}
	})
	return sig
}

// endTimeout is how long a launcher that has closed its pipes may take to end.
const endTimeout = 750 * time.Millisecond

// Killed says what has killed a launcher that is about to end. The error wraps seen, by which the
// end was seen, unless that is nil.
func (p *Process) Killed(seen error) error {
	by := ""
	switch sig := p.KilledBy(endTimeout); sig {
	case 0:
	case unix.SIGSYS:
		by = " by SIGSYS: a filter of system calls (seccomp) kills who makes one of its calls"
	default:
		by = " by " + unix.SignalName(sig)
	}
	return &KilledError{by, seen}
}

// KilledError says that a launcher was killed before it was done.
type KilledError struct {
	by   string
	seen error
}

func (e *KilledError) Error() string { return "the launcher was killed" + e.by }

// Unwrap returns the error by which this was seen, or nil.
func (e *KilledError) Unwrap() error { return e.seen }

// Fields of the answer of waitid(2) for a process that has ended (asm-generic/siginfo.h).
const (
	cldKilled = 2
	cldDumped = 3

	siUnion  = (3*4 + unsafe.Sizeof(uintptr(0)) - 1) &^ (unsafe.Sizeof(uintptr(0)) - 1)
	siStatus = siUnion + 8 // behind pid and uid
)

// Reap is Process.Reap for any child. kill kills the child, and returns how long to wait
// afterwards.
func Reap(p *os.Process, byItself time.Duration, kill func() time.Duration) (*os.ProcessState, error) {
	begin := time.Now()
	if endsWithin(p, byItself) { // without a goroutine: that would have to wake a thread
		return p.Wait()
	}
	byItself -= time.Since(begin)
	var state *os.ProcessState
	var err error // set once done is closed
	done := make(chan struct{})
	go func() {
		defer close(done)
		state, err = p.Wait()
	}()
	if sys.Done(done, byItself) {
		return state, err
	}
	if sys.Done(done, kill()) {
		return state, err
	}
	return nil, procfs.Stuck(p.Pid)
}

// CloseControl makes the launcher fail at the next Wait, or at the one that it is in. Next reports it.
func (p *Process) CloseControl() error { return closeOnce(p.control) }

// CloseStatus closes the status pipe, when no more records are expected from the launcher.
func (p *Process) CloseStatus() error { return closeOnce(p.status) }

// Close makes the launcher end at the next Wait, Sync or Send, or where it waits now, and releases
// the pipes. If it has become a program, Close leaves that alone. Close leaves the os.Process
// alone, too: the caller must still wait for it.
func (p *Process) Close() error {
	p.list = nil // nothing is decoded any more, and a Process that became a worker stays for long
	return errors.Join(closeOnce(p.control), closeOnce(p.status))
}

func closeOnce(f *os.File) error {
	if err := f.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

// A StepError is the failure of a step.
type StepError struct {
	Index  int    // of the step in its list; -1 if the list did not arrive
	Name   string // of the system call
	Step   string // as printed
	Result int64
	Errno  syscall.Errno // 0 if Result is unexpected, but no error
}

func newStepError(index int, name, step string, result int64) *StepError {
	e := &StepError{Index: index, Name: name, Step: step, Result: result}
	if result < 0 && result >= -maxErrno {
		e.Errno = syscall.Errno(-result)
	}
	return e
}

func (e *StepError) Error() string {
	if e.Errno == 0 {
		return fmt.Sprintf("launcher: step %d %s: result %d", e.Index, e.Step, e.Result)
	}
	return fmt.Sprintf("launcher: step %d %s: %s (%v)", e.Index, e.Step, errnoName(e.Errno), e.Errno)
}

// Unwrap returns Errno.
func (e *StepError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}
