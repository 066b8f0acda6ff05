package reexec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// maxToolOutput limits how many bytes are read from a tool's standard output.
const maxToolOutput = 1 << 20

// RunTool runs a program of the system and returns its standard output. The calling thread starts
// it. If ctx ends first, the process group of the program is killed. RunTool does not wait for
// processes that have left this group and keep its standard output open. The error names the
// program and has the end of its standard error.
func RunTool(ctx context.Context, path string, args ...string) (string, error) {
	var answer toolOutput
	out, outEnd, err := newStderrTail(&answer)
	if err != nil {
		return "", err
	}
	errs, errsEnd, err := newStderrTail(io.Discard)
	if err != nil {
		outEnd.Close()
		out.stop()
		return "", err
	}
	null, err := sys.Null()
	if err != nil {
		outEnd.Close()
		errsEnd.Close()
		out.stop()
		errs.stop()
		return "", err
	}
	c := exec.Command(path, args...)
	c.Stdin = null
	c.Stdout, c.Stderr = outEnd, errsEnd // files, so that Wait waits for nothing else
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	_, err = onThreadLike(ctx, lookAtStarter(nil), func() (*exec.Cmd, error) { return c, c.Start() }, func() {
		null.Close()
		outEnd.Close()
		errsEnd.Close()
	}, endTool)
	if err == nil {
		err = waitForTool(ctx, c)
	}
	out.stop()
	said := strings.TrimSpace(errs.stop().text)
	text, complete := answer.take()
	if err == nil && !complete {
		err = fmt.Errorf("it printed more than %d bytes", maxToolOutput)
	}
	if err == nil {
		return text, nil
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if said != "" {
		return "", fmt.Errorf("%s: %w: %s", path, err, said)
	}
	return "", fmt.Errorf("%s: %w", path, err)
}

// endTool ends a tool that has started too late.
func endTool(c *exec.Cmd) {
	_ = unix.Kill(-c.Process.Pid, unix.SIGKILL)
	_ = c.Wait()
}

// waitForTool waits for the end of c, and ends its process group.
func waitForTool(ctx context.Context, c *exec.Cmd) error {
	pid := c.Process.Pid
	var waitErr error // set once ended is closed
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		waitErr = waitable(pid)
	}()
	var cause error
	over, reaped := false, false
	select {
	case <-ended:
		over, reaped = true, waitErr != nil
	case <-ctx.Done():
		cause = fmt.Errorf("killed, as it did not end in time: %w", context.Cause(ctx))
	}
	// Until the tool is reaped, no other group can have the number of its group.
	if !reaped {
		_ = unix.Kill(-pid, unix.SIGKILL)
	}
	if !over {
		limit := time.NewTimer(exitTimeout)
		defer limit.Stop()
		select {
		case <-ended:
		case <-limit.C: // a process with other ids than ours, or stuck in the kernel
			go c.Process.Wait()
			return fmt.Errorf("it did not end in time, nor when it was killed: %w", context.Cause(ctx))
		}
	}
	err := c.Wait()
	_ = c.Process.Release() // Wait releases it, too, unless somebody else has reaped the tool
	if cause != nil {
		return cause
	}
	return err
}

// waitable waits until a child has ended, and does not reap it.
func waitable(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			return err
		}
	}
}

// toolOutput keeps the beginning of its input.
type toolOutput struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	over bool
}

func (o *toolOutput) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(len(b), maxToolOutput-o.buf.Len())
	o.buf.Write(b[:n])
	o.over = o.over || n < len(b)
	return len(b), nil
}

func (o *toolOutput) take() (text string, complete bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), !o.over
}

// mapTool is the program that writes a file of an id map, or "".
func (c *Creation) mapTool(name string) string {
	switch name {
	case "uid_map":
		return c.UIDMapTool
	case "gid_map":
		return c.GIDMapTool
	}
	return ""
}

// runMapTool makes newuidmap or newgidmap write an id map.
func runMapTool(ctx context.Context, tool string, m procFile, d *procfs.Dir) error {
	op := map[string]string{"uid_map": "newuidmap", "gid_map": "newgidmap"}[m.name]
	args := append([]string{strconv.Itoa(d.ID)}, strings.Fields(m.content)...) // the id as /proc shows it
	err := procfs.Visible()
	if err == nil {
		_, err = RunTool(ctx, tool, args...)
	}
	if err == nil {
		// A tool that does nothing, such as /bin/true, would leave all ids unmapped.
		var content string
		content, err = d.ReadFile(m.name, maxIDMapFile)
		if err == nil && len(content) == 0 {
			err = fmt.Errorf("%s: it succeeded, but wrote nothing to %s", tool, m.name)
		}
	}
	if err != nil {
		return &LaunchError{Op: op, Type: unix.CLONE_NEWUSER, Step: strings.Join(append([]string{tool}, args...), " "), Err: err}
	}
	return nil
}
