package unshare

import (
	"context"
	"io"
	"os"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gonso/gonso/gonso"
)

// Cmd is this program with other arguments, in namespaces that Start makes.
type Cmd struct {
	Args, Env      []string
	Dir            string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	ExtraFiles     []*os.File
	Process        *os.Process
	ProcessState   *os.ProcessState

	UnshareFlags               int
	UidMappings, GidMappings   []specs.LinuxIDMapping
	GidMappingsEnableSetgroups bool
	Setsid, Setpgrp            bool
	Ctty                       *os.File
	OOMScoreAdj                *int

	inside *gonso.Cmd
}

// Command is a Cmd with arguments, the first of which is its name.
func Command(args ...string) *Cmd { return &Cmd{Args: args} }

func (c *Cmd) namespaces() (*gonso.Set, error) {
	types := gonso.Type(c.UnshareFlags)
	if types == 0 {
		return new(gonso.Set), nil
	}
	if types&gonso.User == 0 {
		return gonso.Unshare(types)
	}
	uids, gids, err := sameIDs()
	if len(c.UidMappings) > 0 {
		uids = nil
	}
	for _, m := range c.UidMappings {
		uids = append(uids, gonso.IDMap(m))
	}
	if len(c.GidMappings) > 0 {
		gids = nil
	}
	for _, m := range c.GidMappings {
		gids = append(gids, gonso.IDMap(m))
	}
	if err != nil {
		return nil, err
	}
	return gonso.Unshare(types, gonso.IDMaps(uids, gids), gonso.Setgroups(c.GidMappingsEnableSetgroups))
}

// Start starts the program.
func (c *Cmd) Start() error {
	s, err := c.namespaces()
	if err != nil {
		return err
	}
	defer s.Close() // the program has what it needs
	in := s.Self(context.Background())
	in.Args, in.Dir, in.ExtraFiles = c.Args, c.Dir, c.ExtraFiles
	in.Stdin, in.Stdout, in.Stderr = c.Stdin, c.Stdout, c.Stderr
	if in.Env = slices.Clone(c.Env); c.Env == nil {
		in.Env = os.Environ()
	}
	in.Env = append(in.Env, rootlessEnv()...)
	in.Setsid, in.Setpgid, in.OOMScoreAdj = c.Setsid, c.Setpgrp, c.OOMScoreAdj
	if c.Ctty != nil {
		in.Setctty, in.Ctty = true, 3+len(in.ExtraFiles)
		in.ExtraFiles = append(in.ExtraFiles, c.Ctty)
	}
	if err := in.Start(); err != nil {
		return err
	}
	c.inside, c.Process = in, in.Process
	return nil
}

// Wait waits for the program's end.
func (c *Cmd) Wait() error {
	defer func() { c.ProcessState = c.inside.ProcessState }()
	return c.inside.Wait()
}

// Run starts the program and waits for its end.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// GetHostIDMappings are the id maps of a process, or of this one if pid is empty or "self".
func GetHostIDMappings(pid string) (uids, gids []specs.LinuxIDMapping, err error) {
	u, g, err := idMapsOf(pid)
	for _, m := range u {
		uids = append(uids, specs.LinuxIDMapping(m))
	}
	for _, m := range g {
		gids = append(gids, specs.LinuxIDMapping(m))
	}
	return uids, gids, err
}
