package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

func absolute(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// heredocs are files whose text is in the Dockerfile.
func heredocs(in packIn, files []instructions.SourceContent, w io.Writer) (packed, error) {
	tw := tar.NewWriter(w)
	var n packed
	for _, f := range files {
		h := &tar.Header{Name: path.Base(f.Path), Mode: 0o644, Size: int64(len(f.Data)), Uid: in.Owner.UID, Gid: in.Owner.GID,
			ModTime: time.Unix(in.Epoch, 0), Typeflag: tar.TypeReg}
		if in.Mode != nil {
			h.Mode = int64(*in.Mode)
		}
		if err := tw.WriteHeader(h); err != nil {
			return n, err
		}
		if _, err := io.WriteString(tw, f.Data); err != nil {
			return n, err
		}
	}
	n.File, n.Files = len(files) == 1, len(files)
	return n, tw.Close()
}

// script turns the heredocs of a RUN into arguments and files.
func script(st *state, c *instructions.RunCommand) (args []string, files map[string]string) {
	if !c.PrependShell || len(c.Files) == 0 {
		return st.commandLine(c.ShellDependantCmdLine), nil
	}
	text := strings.Join(c.CmdLine, " ")
	if parser.MustParseHeredoc(text) != nil { // nothing but the heredoc
		first := c.Files[0]
		if first.Chomp {
			first.Data = parser.ChompHeredocContent(first.Data)
		}
		if strings.HasPrefix(first.Data, "#!") {
			return []string{"/dev/pipes/" + path.Base(first.Name)}, map[string]string{first.Name: first.Data}
		}
		return st.shell(first.Data), nil
	}
	for _, f := range c.Files { // the shell reads them itself
		text += "\n" + f.Data + f.Name
	}
	return st.shell(text), nil
}

func (b *builder) run(ctx context.Context, st *state, c *instructions.RunCommand, p *step) (*layer, error) {
	cfg := &st.config.Config
	args, files := script(st, c)
	r, w, err := os.Pipe()
	if err != nil {
		return nil, p.end(err)
	}
	defer r.Close()
	defer w.Close()
	in := enterIn{Run: true, HostNet: b.hostNet, Hostname: "builder", User: cfg.User, Dir: cfg.WorkingDir, Files: files, Streams: []*os.File{w}}
	var targets []string
	for _, m := range instructions.GetMounts(c) {
		target := m.Target
		if !path.IsAbs(target) {
			target = path.Join("/", cfg.WorkingDir, target)
		}
		id := m.CacheID
		if id == "" {
			id = target
		}
		mount := mount{Target: target, Size: m.SizeLimit}
		if m.Type == instructions.MountTypeCache {
			dir, err := b.cache.mount(id)
			if err != nil {
				return nil, p.end(err)
			}
			mount.Dir = dir
		}
		in.Mounts = append(in.Mounts, mount)
		targets = append(targets, string(m.Type), id, target)
	}
	env := runEnv(st.env())
	key := digestOf("RUN", args, files, env, cfg.User, cfg.WorkingDir, targets, b.hostNet)
	env = b.plan.withProxies(env)
	return b.layer(ctx, st, p, key, in, func(s *gonso.Set, e *entered) error {
		return b.command(ctx, s, e, cfg.WorkingDir, env, args, p, r, w)
	})
}

func runEnv(env []string) []string {
	if _, ok := lookEnv(env, "PATH"); !ok {
		env = append(slices.Clone(env), defaultPath)
	}
	return env
}

// capabilities are what container runtimes leave root by default. They count in the Set's user namespace only.
var capabilities = []uintptr{unix.CAP_AUDIT_WRITE, unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER, unix.CAP_FSETID,
	unix.CAP_KILL, unix.CAP_MKNOD, unix.CAP_NET_BIND_SERVICE, unix.CAP_NET_RAW, unix.CAP_SETFCAP, unix.CAP_SETGID, unix.CAP_SETPCAP,
	unix.CAP_SETUID, unix.CAP_SYS_CHROOT}

// prepare is the command as it runs in an image, for RUN and for run.
func (b *builder) prepare(ctx context.Context, s *gonso.Set, e *entered, dir string, env, args []string) *gonso.Cmd {
	if _, ok := lookEnv(env, "HOME"); !ok {
		env = append(slices.Clone(env), "HOME="+e.Home)
	}
	mask := 0o022
	c := s.Command(ctx, args[0], args[1:]...)
	c.Env, c.Umask = env, &mask
	if c.Dir = dir; dir == "" {
		c.Dir = "/"
	}
	c.Credential = &gonso.Credential{UID: e.UID, GID: e.GID, Groups: e.Groups}
	c.Capabilities = &gonso.Capabilities{Bounding: capabilities}
	if e.UID == 0 {
		c.Capabilities.Permitted, c.Capabilities.Effective = capabilities, capabilities
	}
	c.Rlimits = []gonso.Rlimit{{Resource: unix.RLIMIT_CORE}}
	var most unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &most); err == nil {
		n := min(b.processes, most.Max)
		c.Rlimits = append(c.Rlimits, gonso.Rlimit{Resource: unix.RLIMIT_NPROC, Soft: n, Hard: n})
	}
	return c
}

// command runs the command of a RUN, in a session of its own, and passes on what it prints.
func (b *builder) command(ctx context.Context, s *gonso.Set, e *entered, dir string, env, args []string, p *step, r, w *os.File) error {
	c := b.prepare(ctx, s, e, dir, env, args)
	c.Stdout, c.Stderr, c.Setsid = w, w, true
	read := make(chan error, 1)
	go func() { read <- p.lines(r) }()
	err := c.Run()
	w.Close()
	// What it has left behind keeps the pipe open, until the Set ends everything.
	s.Close()
	err = errors.Join(ended(ctx, err), <-read)
	return err
}

// ended says how a command has ended that was to end well.
func ended(ctx context.Context, err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.As(err, &exit):
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return fmt.Errorf("the command was ended by signal %s", unix.SignalName(ws.Signal()))
		}
		return fmt.Errorf("the command ended with exit status %d", exit.ExitCode())
	}
	return err
}

// isPipe says that a file is a pipe without a name.
func isPipe(f *os.File) bool {
	var st unix.Statfs_t
	conn, err := f.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) { _ = unix.Fstatfs(int(fd), &st) })
	}
	return err == nil && st.Type == unix.PIPEFS_MAGIC
}

// runImage runs an image in the place of this program, and returns only if it cannot.
func (b *builder) runImage(ctx context.Context, ref string, args []string) error {
	img, err := b.image(ctx, ref)
	if err != nil {
		return err
	}
	cfg := img.config.Config
	if len(args) == 0 {
		args = cfg.Cmd
	}
	if args = append(slices.Clone(cfg.Entrypoint), args...); len(args) == 0 {
		return fmt.Errorf("%s has neither ENTRYPOINT nor CMD: give a command", ref)
	}
	// What is written goes to a tmpfs in the Set, which ends with it: nothing has to be removed.
	in := enterIn{Scratch: filepath.Join(b.cache.dir, "tmp"), Tmp: true, Run: true, HostNet: b.hostNet, Hostname: "container", User: cfg.User, Dir: cfg.WorkingDir}
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if isPipe(f) { // files and terminals stay their owners'
			in.Streams = append(in.Streams, f)
		}
	}
	if err := in.on(img.layers); err != nil {
		return err
	}
	s, e, err := b.root(ctx, in)
	if err != nil {
		return err
	}
	if err := b.cache.leave(); err != nil {
		return err
	}
	env := runEnv(cfg.Env)
	if term, ok := os.LookupEnv("TERM"); ok {
		env = setEnv(env, "TERM", term)
	}
	b.prepare(ctx, s, e, cfg.WorkingDir, env, args).RunAndExit()
	return nil
}
