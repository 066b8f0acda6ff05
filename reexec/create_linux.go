package reexec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/child"
	"github.com/gonso/gonso/reexec/internal/launcher"
)

// nsLinks are the links in /proc/PID/ns in the order of package gonso's types.
var nsLinks = []struct {
	typ  uint32
	name string
}{
	{unix.CLONE_NEWCGROUP, "cgroup"}, {unix.CLONE_NEWIPC, "ipc"}, {unix.CLONE_NEWNS, "mnt"}, {unix.CLONE_NEWNET, "net"},
	{unix.CLONE_NEWUSER, "user"}, {unix.CLONE_NEWUTS, "uts"},
}

// beforeMaps is called between the making of namespaces and the writing of id
// maps; tests hold a launch up here.
var beforeMaps = func(pid int) {}

// Create makes namespaces by way of a launcher that ends as soon as their
// descriptors are taken. It returns one file for each type in c.Unshare, in the
// order of the names of the types; they belong to the caller.
func Create(ctx context.Context, c *Creation) ([]*os.File, error) {
	if child.Pending() {
		return nil, errSecondGeneration
	}
	// A plain user may open a process's files in /proc only if it is dumpable;
	// for root that makes no difference.
	l := composeCreation(c, os.Geteuid() != 0)
	p, err := l.start(&launcher.Cmd{Args: []string{"gonso-create"}, Files: files(c.Join)})
	if err != nil {
		return nil, err
	}
	defer p.Close()
	made, err := takeMade(ctx, c, l, p)
	if err != nil {
		p.Kill()
	}
	state, werr := p.Wait()
	if err == nil && (werr != nil || !state.Success()) {
		err = fmt.Errorf("making namespaces: the launcher ended with %v", state)
	}
	if err != nil {
		closeFiles(made)
		return nil, err
	}
	return made, nil
}

// takeMade opens what the launcher has made, has the id maps written, and lets
// the launcher end. It may return files along with an error.
func takeMade(ctx context.Context, c *Creation, l *launch, p *launcher.Process) ([]*os.File, error) {
	if err := p.Next(ctx); err != nil {
		if stepErr := l.explain(err); stepErr != nil {
			return nil, stepErr
		}
		if errors.Is(err, io.EOF) {
			err = errors.New("the launcher was killed")
		}
		return nil, fmt.Errorf("making namespaces: %w", err)
	}
	made, err := openMade(p.Pid, c.Unshare)
	if err != nil {
		return nil, err
	}
	beforeMaps(p.Pid)
	if err := writeMaps(ctx, c, p.Pid); err != nil {
		return made, err
	}
	return made, p.Continue()
}

func openMade(pid int, types uint32) ([]*os.File, error) {
	made := make([]*os.File, 0, bits.OnesCount32(types))
	for _, link := range nsLinks {
		if types&link.typ == 0 {
			continue
		}
		f, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, link.name))
		if err != nil {
			closeFiles(made)
			return nil, &LaunchError{Op: "open", Type: link.typ, Step: "open " + link.name, Err: err}
		}
		made = append(made, f)
	}
	return made, nil
}

// writeMaps writes the maps, or has them written from inside the user namespace
// that they are relative to.
func writeMaps(ctx context.Context, c *Creation, pid int) error {
	for _, j := range slices.Backward(c.Join) { // the last one joined is the parent
		if j.Type == unix.CLONE_NEWUSER {
			return runMapper(ctx, c, j, pid)
		}
	}
	for _, m := range c.mapFiles() {
		if err := writeProc(fmt.Sprintf("/proc/%d/%s", pid, m.name), m.content); err != nil {
			return &LaunchError{Op: "write " + m.name + " of", Type: unix.CLONE_NEWUSER, Step: fmt.Sprintf("write %q to %s", m.content, m.name), Err: err}
		}
	}
	return nil
}

// writeProc writes in one call, as the files of id maps demand.
func writeProc(path, content string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(content))
	return err
}

func runMapper(ctx context.Context, c *Creation, user Join, pid int) error {
	if len(c.mapFiles()) == 0 {
		return nil
	}
	l := composeMapper(c, user, pid)
	p, err := l.start(&launcher.Cmd{Args: []string{"gonso-idmap"}, Files: []*os.File{user.File}})
	if err != nil {
		return err
	}
	defer p.Wait()
	defer p.Close()
	err = p.Next(ctx)
	if errors.Is(err, io.EOF) {
		return nil
	}
	p.Kill()
	if stepErr := l.explain(err); stepErr != nil {
		return stepErr
	}
	return fmt.Errorf("writing id maps: %w", err)
}
