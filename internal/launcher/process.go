//go:build linux

package launcher

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// Cmd says what to start.
type Cmd struct {
	List *List    // must not be changed while the Process is in use
	Args []string // for Execve and Execveat; nil means one, the launcher's name
	Env  []string // for Execve and Execveat; nil means empty, not this program's

	// The files stay the caller's. Nil streams are /dev/null. Files become FirstFileFD and so on; a nil one is left closed.
	Stdin, Stdout, Stderr *os.File
	Files                 []*os.File

	Dir string // "" is the current directory
	Sys *syscall.SysProcAttr

	// Starter, if not nil, is called once in place of os.StartProcess. The standard streams are its affair.
	Starter Starter
}

// A Process is a launcher, or the program that it has become. It must be closed, and the os.Process waited for, in any
// order. Next, NextValue and Continue are for one goroutine at a time.
type Process struct {
	*os.Process
	list            *List
	control, status *os.File
}

// Start starts a launcher.
func Start(c *Cmd) (*Process, error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	if c.List == nil {
		return nil, errors.New("launcher: Cmd without List")
	}
	list, err := c.List.Encode()
	if err != nil {
		return nil, err
	}
	if c.Starter != nil {
		if err := prove(); err != nil {
			return nil, err
		}
	}
	// The launcher's ends get blocking, as it needs them, when they are passed on; ours stay as deadlines need them.
	controlEnd, control, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer controlEnd.Close()
	status, statusEnd, err := os.Pipe()
	if err != nil {
		control.Close()
		return nil, err
	}
	defer statusEnd.Close()
	p := &Process{list: c.List, control: control, status: status}
	if err := p.start(c, list, controlEnd, statusEnd); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// start starts the launcher and gives it the list.
func (p *Process) start(c *Cmd, list []byte, control, status *os.File) error {
	null, err := devNull(c)
	if err != nil {
		return err
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
	attr.Files = append(attr.Files, control, status, nil)
	attr.Files = append(attr.Files, c.Files...)
	args := c.Args
	if len(args) == 0 {
		args = []string{"gonso-launcher"}
	}

	// What is written before the start need not be waited for by the launcher. 4096 bytes fit an empty pipe, even of a user
	// over the quota for pipes; the rest is read while it is written.
	first := min(len(list), 4096)
	if _, err := p.control.Write(list[:first]); err != nil {
		return err
	}
	if p.Process, err = startImage(args, attr, c.Starter); err != nil {
		return err
	}
	control.Close() // so that writing fails once the launcher is gone
	if _, err := p.control.Write(list[first:]); err != nil {
		p.Kill()
		p.Wait()
		return fmt.Errorf("launcher: writing the list: %w", err)
	}
	return nil
}

// startImage starts the launcher's executable.
func startImage(args []string, attr *os.ProcAttr, starter Starter) (*os.Process, error) {
	// The number is the child's: the path is resolved when its files are in place.
	path := fmt.Sprintf("/proc/self/fd/%d", ImageFD)
	f, err := image.get()
	if err != nil {
		return nil, err
	}
	attr.Files[ImageFD] = f
	if starter != nil {
		return starter(path, args, attr)
	}
	p, err := os.StartProcess(path, args, attr)
	if err == nil {
		proven.Store(true)
	}
	if errors.Is(err, fs.ErrPermission) && (attr.Sys == nil || !attr.Sys.UseCgroupFD) { // a policy may let memfds be made, but not executed
		if f, insteadErr := image.instead(f); insteadErr == nil {
			attr.Files[ImageFD] = f
			return os.StartProcess(path, args, attr)
		}
	}
	return p, err
}

// devNull returns nil if no stream of c needs it.
func devNull(c *Cmd) (*os.File, error) {
	if c.Stdin != nil && c.Stdout != nil && c.Stderr != nil || c.Starter != nil {
		return nil, nil
	}
	return os.OpenFile(os.DevNull, os.O_RDWR, 0)
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
	cancelled := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		p.status.SetReadDeadline(time.Unix(1, 0))
		close(cancelled)
	})
	var record [recordSize]byte
	n, err := io.ReadFull(p.status, record[:]) // all of it or nothing: pipes write a record in one piece
	if !stop() {
		<-cancelled
		p.status.SetReadDeadline(time.Time{})
	}
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

// followPatience is how long Follow waits for an id when ctx is done. It comes at once, unless the launcher is stopped.
const followPatience = 5 * time.Second

// Follow is for lists that go on in a child made with CLONE_PARENT, whose id the original sends before it exits, while the
// child waits: the way into a pid namespace, which no running process enters. p is that child afterwards, told to go on,
// and the original has been waited for.
//
// When ctx is done first, p is whichever of the two there is, and the error ctx's cause.
func (p *Process) Follow(ctx context.Context) error {
	pid, err := p.NextValue(ctx)
	if err != nil && ctx.Err() != nil {
		// Were it given up between the making of the child and the coming of its id, nobody could reap that.
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
	// A program that reaps whatever ends, as an init does, may have been faster.
	if _, err = original.Wait(); errors.Is(err, syscall.ECHILD) {
		err = nil
	}
	return err
}

// decode returns the value of a record, or the failure that it tells of.
func (l *List) decode(record [recordSize]byte) (int64, error) {
	addr := binary.LittleEndian.Uint64(record[:])
	result := int64(binary.LittleEndian.Uint64(record[8:]))
	if addr == dataBase {
		return 0, newStepError(-1, "read", "read(control, list)", result)
	}
	const size = uint64(unsafe.Sizeof(step{}))
	offset := addr&^reached - stepAddr(0) // huge if negative
	if offset%size == 0 && offset/size < uint64(len(l.steps)) {
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
	_, err := p.control.Write([]byte{1})
	return err
}

// CloseControl makes the launcher fail at the next Wait, or at the one that it is in. Next reports it.
func (p *Process) CloseControl() error { return closeOnce(p.control) }

// CloseStatus is for when nothing more is to be heard from the launcher.
func (p *Process) CloseStatus() error { return closeOnce(p.status) }

// Close makes the launcher end at the next Wait, Sync or Send, or where it waits now, and releases the pipes. A program
// that it has become is not touched; nor is the os.Process, which still has to be waited for.
func (p *Process) Close() error { return errors.Join(closeOnce(p.control), closeOnce(p.status)) }

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
	Errno  syscall.Errno // 0 if Result is an unexpected one that is no error
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
