package reexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/handshake"
	"github.com/gonso/gonso/internal/launcher"
	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/internal/wire"
)

// start starts the launcher on l, with the starter's privileges. release frees everything that cmd
// uses, also if ctx is done before the launcher has started.
func (l *launch) start(ctx context.Context, by *starter, cmd *launcher.Cmd, release func()) (*launcher.Process, error) {
	return onThreadLike(ctx, by, func() (*launcher.Process, error) { return l.startHere(cmd) }, release, giveUp)
}

// giveUp ends a launcher that has started too late.
func giveUp(p *launcher.Process) {
	p.Kill()
	p.Close()
	p.Reap(0)
}

// startHere starts the launcher on l, from a thread at home. This process lends it the capabilities
// that it would not have otherwise.
func (l *launch) startHere(cmd *launcher.Cmd) (*launcher.Process, error) {
	if l.refused != nil {
		return nil, l.refused
	}
	cmd.List = &l.List
	if lent := sys.Lendable(); lent != 0 {
		attr := syscall.SysProcAttr{}
		if cmd.Sys != nil {
			attr = *cmd.Sys
		}
		attr.AmbientCaps = lent.List()
		cmd.Sys = &attr
	}
	return launcher.Start(cmd)
}

// failure returns the step that failed, if one did. The launcher has ended or is about to.
func (l *launch) failure(p *launcher.Process) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return l.explain(p.Next(ctx))
}

// explain makes a LaunchError of a StepError. It returns nil for the launcher's plain end.
func (l *launch) explain(err error) error {
	var se *launcher.StepError
	if !errors.As(err, &se) {
		return nil
	}
	le := &LaunchError{Op: se.Name, Type: l.about[se.Index], Step: se.Step, Path: l.paths[se.Index], Err: se.Errno}
	le.Inside, le.Fresh = l.inside > 0 && se.Index >= l.inside, l.fresh[se.Index]
	le.Option, le.Limit = l.asked[se.Index].option, l.asked[se.Index].limit
	switch why := l.shut[se.Index]; {
	case why != "" && se.Errno == unix.ENOENT:
		le.Err = fmt.Errorf("%w: %s", se.Errno, why)
	case se.Name == "execveat" && l.forbids.execveat:
		le.Err = noExecveat(se.Errno)
	case se.Name == "openat2" && l.forbids.openat2:
		le.Err = fmt.Errorf("%w: a filter of system calls (seccomp) forbids openat2, which keeps links of procfs from leading outside", se.Errno)
	}
	return le
}

func noExecveat(errno unix.Errno) error {
	return fmt.Errorf("%w: a filter of system calls (seccomp) forbids execveat, and by a path nothing is executed in a Set that somebody else made", errno)
}

// ended says why the launcher did not reach the step that this process waited for.
func (l *launch) ended(p *launcher.Process, doing string, err error) error {
	if stepErr := l.explain(err); stepErr != nil {
		return stepErr
	}
	if errors.Is(err, io.EOF) {
		err = p.Killed(nil)
	}
	return fmt.Errorf("gonso: %s: %w", doing, err)
}

// launch launches a worker and waits for it to come to Init. A dynamically linked program may find
// no loader in the Set's mnt namespace. Then the worker comes up outside of that namespace, and its
// calls enter it.
func (w *Worker) launch() (*process, error) {
	if handshake.Pending() {
		return nil, errSecondGeneration
	}
	w.mu.Lock()
	perCall := w.perCall
	w.mu.Unlock()
	p, err := w.launchOnce(perCall)
	if w.refusedFile(err) {
		p, err = w.launchCopy(perCall, err)
	}
	if err == nil || perCall || !w.lacksLoader(err) {
		return p, err
	}
	if p, err = w.launchOnce(true); err == nil {
		w.mu.Lock()
		w.perCall = true
		w.mu.Unlock()
	}
	return p, err
}

// refusedFile reports whether a launch failed because the program's file may not be executed
// inside, although a copy of it may.
func (w *Worker) refusedFile(err error) bool {
	var le *LaunchError
	return errors.As(err, &le) && (le.Op == "execve" || le.Op == "execveat") && errors.Is(le.Err, unix.EACCES) &&
		!w.copied.Load() && !w.opts.Protect && w.exe.copyHelps()
}

// launchCopy launches a sealed copy of the program from now on.
func (w *Worker) launchCopy(perCall bool, refused error) (*process, error) {
	if _, done, err := w.exe.open(w.opts.Protect, true); err != nil {
		return nil, withoutCopy(refused, err)
	} else {
		done()
	}
	w.copied.Store(true)
	return w.launchOnce(perCall)
}

// withoutCopy adds to the error why a copy was no help.
func withoutCopy(refused, err error) error {
	var le *LaunchError
	if !errors.As(refused, &le) {
		return refused
	}
	both := *le
	both.Err = fmt.Errorf("%w; nor could a copy be executed: %s", le.Err, Clause(err))
	return &both
}

// launchOnce is launch for a given place where the program comes up.
func (w *Worker) launchOnce(perCall bool) (*process, error) {
	ctx, cancel := w.startContext()
	defer cancel()
	p, l, err := w.setOut(ctx, perCall)
	if err != nil {
		return nil, err
	}
	alive, err := p.comeUp(ctx, l)
	if err != nil {
		return nil, p.abandon(l, alive, err)
	}
	p.proc.Close() // exec has closed the status pipe
	p.watchEnd()
	p.mu.Lock()
	p.since = w.now()
	p.left = time.Now()
	p.idle = time.AfterFunc(w.opts.Idle, p.idleEnd)
	p.mu.Unlock()
	return p, nil
}

// setOut starts the launcher, which is on its way to becoming the worker.
func (w *Worker) setOut(ctx context.Context, perCall bool) (*process, *launch, error) {
	exe, done, err := w.exe.openWithin(ctx, w.opts.Protect, w.copied.Load())
	if err != nil && !w.exe.self {
		err = fmt.Errorf("%s: %w", "Worker.Path", err)
	}
	if err != nil {
		return nil, nil, err
	}
	defer done()
	if err := w.checkLoader(exe); err != nil {
		return nil, nil, err
	}
	conn, sock, err := wire.Pair()
	if err != nil {
		return nil, nil, err
	}
	tail, stderrW, err := newStderrTail(w.opts.Stderr)
	if err != nil {
		conn.Close()
		sock.Close()
		return nil, nil, err
	}
	handshake.Mark(sock, perCall)
	how, cmd := w.prepare(ctx, perCall, sock, exe)
	cmd.Stdout, cmd.Stderr = stderrW, stderrW
	// From then on only the child has sock and stderrW: when they are closed, the child has ended.
	release := func() {
		sock.Close()
		stderrW.Close()
	}
	s, err := onLastingThread(ctx, func() (started, error) { return w.startIn(how, cmd) }, release, started.giveUp)
	if err != nil {
		conn.Close()
		said := tail.stop()
		if errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, sys.ErrLeftBehind) {
			err = fmt.Errorf("the worker did not start within %v, Worker.StartTimeout: %w", w.opts.StartTimeout, os.ErrDeadlineExceeded)
		}
		if errors.Is(err, unix.EPIPE) { // the launcher was killed before it had read its list
			err = &DiedError{Stderr: said.text, said: said, Cause: err}
		}
		if errors.Is(err, unix.E2BIG) {
			field, what := TooLarge(nil, cmd.Env)
			err = fmt.Errorf("%s: %s: %w", "Worker."+field, what, err)
		}
		return nil, nil, err
	}
	conn.SetSpin(w.opts.Spin)
	p := newProcess(w, conn, s.proc, tail)
	p.exe, p.oom = fileIDOf(exe), countOOM(w.opts.Cgroup) // while the other process is at work
	return p, s.launch, nil
}

// prepare returns what to give to the launcher.
func (w *Worker) prepare(ctx context.Context, perCall bool, sock, exe *os.File) (workerLaunch, *launcher.Cmd) {
	env := w.opts.Env
	if env == nil {
		env = Environment(w.opts.Protect)
	}
	joins, args, extra := w.opts.Join, []string{handshake.Name}, []*os.File(nil)
	if w.opts.Spin > 0 {
		args = append(args, handshake.SpinArg+w.opts.Spin.String())
	}
	if perCall {
		joins, extra = withoutMount(joins)
		args = append(args, handshake.MountArg, w.opts.Dir)
	}
	return workerLaunch{joins: joins, mount: perCall, exe: w.exe.name(), own: lookAtOwn(ctx, w.opts.Protect)}, &launcher.Cmd{
		Args:  args,
		Env:   env,
		Files: append(append([]*os.File{sock, exe}, files(joins)...), extra...),
		Sys:   workerSysProcAttr(),
	}
}

// comeUp follows the launch until the process is the worker's, and waits for Alive and Ready.
func (p *process) comeUp(ctx context.Context, l *launch) (alive bool, err error) {
	if l.forks {
		if err := p.proc.Follow(ctx); err != nil {
			return false, err
		}
	}
	timedOut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(timedOut)
		_ = p.conn.SetReadDeadline(time.Unix(1, 0))
	})
	defer func() {
		if !stop() {
			<-timedOut
			_ = p.conn.SetReadDeadline(time.Time{})
		}
		if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
	}()
	for _, want := range []wire.FrameType{wire.Alive, wire.Ready} {
		f, err := p.conn.Read()
		if err != nil {
			return want == wire.Ready, err
		}
		f.Close()
		if f.Type != want {
			return false, fmt.Errorf("%w: a %v frame where %v was due", wire.ErrProtocol, f.Type, want)
		}
		if _, err := wire.ParseHello(f.Payload); err != nil {
			return false, err
		}
	}
	return true, nil
}

// abandon ends a process that did not come up, and says why. err is the error of comeUp.
func (p *process) abandon(l *launch, alive bool, err error) error {
	// A refused step is the better error than the end of the connection that it led to.
	timedOut, closed := errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, ErrWorkerClosed)
	stepErr := l.explain(err)
	if stepErr == nil && !closed {
		stepErr = l.failure(p.proc)
	}
	if timedOut || !errors.Is(err, io.EOF) && stepErr == nil {
		p.kill(err)
	}
	died := p.reap(nil)
	p.conn.Close()
	p.proc.Close()
	if stepErr != nil {
		return suspecting(p.owner.opts.Rlimits, stepErr)
	}
	if died.Why == "" && !timedOut && died.Status != "exit status 0" {
		died.Why = suspect(mayEnd(p.owner.opts.Rlimits, died.Status))
	}
	err = comeUpError(alive, timedOut, p.owner.opts.StartTimeout, err, died)
	if exe := p.owner.exe; !exe.self {
		died.Cause = helperError(exe.path, alive, died.Cause)
	}
	return err
}

// comeUpError tells apart, as far as can be known, why nobody answered. Package init of the worker
// says that it is alive before main runs; only a worker that did so can have forgotten Init. If
// this process has called Init, the worker would have called it, too.
func comeUpError(alive, timedOut bool, limit time.Duration, err error, died *DiedError) error {
	known := died.said.inMain
	forgotten := known || !handshake.Initialized() && !died.crashed() && !strings.HasPrefix(died.Status, "signal: ")
	switch {
	case alive && timedOut && !handshake.Initialized():
		died.Cause = Phrase(ErrNotInitialized, "it did not come to Init within %v, so probably %s", limit, Clause(ErrNotInitialized))
	case alive && timedOut:
		died.Cause = fmt.Errorf("it did not come to gonso.Init() within %v: an init function, or what main does before, does not return", limit)
	case alive && errors.Is(err, io.EOF) && forgotten:
		probably := "probably "
		if known {
			probably = ""
		}
		died.Cause = Phrase(ErrNotInitialized, "%s%s: its main ended without", probably, Clause(ErrNotInitialized))
	case alive && errors.Is(err, io.EOF):
		died.Cause = errInInit
	case timedOut:
		died.Cause = fmt.Errorf("it did not start within %v: possibly its runtime is kept waiting for the files below /proc and /sys that it reads", limit)
	case errors.Is(err, io.EOF) && died.crashed():
		died.Cause = errEarlyCrash
	case errors.Is(err, io.EOF):
		died.Cause = errSilent
	default:
		died.Cause = err
	}
	return died
}

// errEarlyCrash: the Go runtime ended the worker, and said why.
var errEarlyCrash = errors.New("it crashed before package gonso was ready in it")

// errInInit: nothing shows that main had begun.
var errInInit = errors.New("it ended before it came to gonso.Init(): in an init function of the program, or in what its main does before")
