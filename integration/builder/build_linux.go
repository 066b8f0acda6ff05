package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"golang.org/x/sync/errgroup"

	"github.com/gonso/gonso/gonso"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// A builder carries out a plan.
type builder struct {
	cache       *cache
	plan        *plan
	progress    *progress
	context     *os.File
	ignore      []string
	contexts    map[string]string // of --build-context
	compression string
	hostNet     bool
	processes   uint64 // at most, so that none can fork without end
	epoch       int64  // SOURCE_DATE_EPOCH
	verbose     bool
}

// A state is a stage as it is after one of its steps.
type state struct {
	image
	fs   string   // what its files were made from: the key of the next step begins with it
	args []string // ARG
	cmd  bool     // the stage has a CMD of its own
}

// build builds the stages that last needs, those that do not need each other at once.
func (b *builder) build(ctx context.Context, last *stage) (*image, error) {
	wanted := map[int]bool{last.index: true}
	for i := last.index; i >= 0; i-- {
		if wanted[i] {
			for _, n := range b.plan.stages[i].needs {
				wanted[n] = true
			}
		}
	}
	states := make([]*state, len(b.plan.stages))
	done := make([]chan struct{}, len(b.plan.stages))
	for i := range done {
		done[i] = make(chan struct{})
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, s := range b.plan.stages {
		if !wanted[i] {
			continue
		}
		group.Go(func() error {
			for _, n := range s.needs {
				select {
				case <-done[n]:
				case <-ctx.Done():
					return context.Cause(ctx)
				}
			}
			st, err := b.stage(ctx, s, states)
			states[i] = st
			if err == nil {
				close(done[i])
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	img := states[last.index].image
	img.config.Created = v1.Time{Time: time.Unix(b.epoch, 0).UTC()}
	return &img, nil
}

func (b *builder) stage(ctx context.Context, s *stage, states []*state) (*state, error) {
	st := new(state)
	name := s.Name
	if name == "" {
		name = "stage-" + strconv.Itoa(s.index)
	}
	step := b.progress.step(fmt.Sprintf("[%s] FROM %s", name, s.base))
	if s.from != nil {
		of := states[s.from.index]
		st.image, st.fs = image{*of.config.DeepCopy(), slices.Clone(of.layers)}, of.fs
		st.args = of.args
	} else {
		img, err := b.image(ctx, s.base)
		if err != nil {
			return nil, step.end(b.plan.atStage(s, err))
		}
		st.image = *img
		st.fs = "image"
		for _, l := range img.layers {
			st.fs = digestOf(st.fs, l.DiffID.String())
		}
	}
	step.done()
	commands := s.Commands
	var triggers []instructions.Command
	for _, text := range st.config.Config.OnBuild {
		c, err := parseTrigger(text)
		if err == nil {
			err = checkTrigger(b.plan, c, s)
		}
		if err != nil {
			return nil, b.plan.atStage(s, fmt.Errorf("its ONBUILD %s: %w", text, err))
		}
		triggers = append(triggers, c)
	}
	st.config.Config.OnBuild = nil
	for i, c := range append(triggers, commands...) {
		err := b.step(ctx, st, states, s, c, fmt.Sprintf("[%s %d/%d] ", name, i+1, len(triggers)+len(commands)))
		if err != nil && i < len(triggers) {
			return nil, b.plan.atStage(s, fmt.Errorf("its ONBUILD %s: %w", strings.ToUpper(c.Name()), err))
		}
		if err != nil {
			return nil, b.plan.in(c, err)
		}
	}
	return st, nil
}

// env is what variables in instructions mean.
func (st *state) env() []string {
	env := slices.Clone(st.args)
	for _, kv := range st.config.Config.Env {
		k, v, _ := strings.Cut(kv, "=")
		env = setEnv(env, k, v)
	}
	return env
}

func (b *builder) step(ctx context.Context, st *state, states []*state, s *stage, c instructions.Command, prefix string) error {
	written := code(c)
	_, isArg := c.(*instructions.ArgCommand) // its defaults mean those before them, and count only if they are used
	if e, ok := c.(instructions.SupportsSingleWordExpansion); ok && !isArg {
		if err := e.Expand(b.plan.expander(st.env())); err != nil {
			return err
		}
	}
	if e, ok := c.(instructions.SupportsSingleWordExpansionRaw); ok {
		raw := shell.NewLex(b.plan.escape)
		raw.RawQuotes, raw.RawEscapes, raw.SkipProcessQuotes = true, true, true
		err := e.ExpandRaw(func(word string) (string, error) {
			out, _, err := raw.ProcessWord(word, shell.EnvsFromSlice(st.env()))
			return out, err
		})
		if err != nil {
			return err
		}
	}
	if err := b.plan.check(c, s, true); err != nil {
		return err
	}
	first, _, _ := strings.Cut(written, "\n")
	var (
		l   *layer
		err error
	)
	switch c := c.(type) {
	case *instructions.RunCommand:
		l, err = b.run(ctx, st, c, b.progress.step(prefix+first))
	case *instructions.CopyCommand:
		l, err = b.copy(ctx, st, states, s, c, b.progress.step(prefix+first))
	case *instructions.AddCommand:
		l, err = b.add(ctx, st, c, b.progress.step(prefix+first))
	case *instructions.WorkdirCommand:
		l, err = b.workdir(ctx, st, c, b.progress.step(prefix+first))
	default:
		err = b.configure(st, c)
	}
	if err != nil {
		return err
	}
	empty := l == nil || l.Empty
	if !empty {
		st.layers = append(st.layers, l)
	}
	if st.config.History == nil {
		st.config.History = []v1.History{}
	}
	st.config.History = append(st.config.History, v1.History{Created: v1.Time{Time: time.Unix(b.epoch, 0).UTC()}, CreatedBy: written, EmptyLayer: empty})
	return nil
}

// configure is for instructions that change no files.
func (b *builder) configure(st *state, c instructions.Command) error {
	cfg := &st.config.Config
	switch c := c.(type) {
	case *instructions.EnvCommand:
		for _, kv := range c.Env {
			cfg.Env = setEnv(cfg.Env, kv.Key, kv.Value)
		}
	case *instructions.ArgCommand:
		args, err := b.plan.setArgs(st.args, c.Args, b.plan.global, cfg.Env)
		if err != nil {
			return err
		}
		st.args = args
	case *instructions.LabelCommand:
		if cfg.Labels == nil {
			cfg.Labels = make(map[string]string)
		}
		for _, kv := range c.Labels {
			cfg.Labels[kv.Key] = kv.Value
		}
	case *instructions.MaintainerCommand:
		st.config.Author = c.Maintainer
	case *instructions.UserCommand:
		cfg.User = c.User
	case *instructions.ShellCommand:
		cfg.Shell = c.Shell
	case *instructions.CmdCommand:
		cfg.Cmd, st.cmd = st.commandLine(c.ShellDependantCmdLine), true
	case *instructions.EntrypointCommand:
		cfg.Entrypoint = st.commandLine(c.ShellDependantCmdLine)
		if !st.cmd {
			cfg.Cmd = nil
		}
	case *instructions.StopSignalCommand:
		cfg.StopSignal = c.Signal
	case *instructions.VolumeCommand:
		if cfg.Volumes == nil {
			cfg.Volumes = make(map[string]struct{})
		}
		for _, v := range c.Volumes {
			cfg.Volumes[v] = struct{}{}
		}
	case *instructions.ExposeCommand:
		ports, err := b.plan.ports(c.Ports, st.env())
		if err != nil {
			return err
		}
		if cfg.ExposedPorts == nil {
			cfg.ExposedPorts = make(map[string]struct{})
		}
		for _, port := range ports {
			cfg.ExposedPorts[port] = struct{}{}
		}
	case *instructions.HealthCheckCommand:
		cfg.Healthcheck = &v1.HealthConfig{Test: c.Health.Test, Interval: c.Health.Interval, Timeout: c.Health.Timeout,
			StartPeriod: c.Health.StartPeriod, Retries: c.Health.Retries}
	case *instructions.OnbuildCommand:
		cfg.OnBuild = append(cfg.OnBuild, c.Expression)
	default:
		return unsupported("it")
	}
	return nil
}

func (st *state) commandLine(c instructions.ShellDependantCmdLine) []string {
	if c.PrependShell {
		return st.shell(strings.Join(c.CmdLine, " "))
	}
	return c.CmdLine
}

// shell is the command line by which the image runs a text.
func (st *state) shell(text string) []string {
	if own := st.config.Config.Shell; len(own) > 0 {
		return append(slices.Clone(own), text)
	}
	return []string{"/bin/sh", "-c", text}
}

// layer is the layer of a step: from the cache by its key, or what work changes in an overlay on the layers so far.
func (b *builder) layer(ctx context.Context, st *state, p *step, key string, in enterIn, work func(s *gonso.Set, e *entered) error) (*layer, error) {
	key = digestOf(st.fs, key, b.compression, b.epoch)
	l, cached, err := b.cache.get(ctx, key, func(dir string) (*layer, error) {
		if err := b.inside(ctx, st.layers, dir, p, in, work); err != nil {
			return nil, err
		}
		return b.pack(ctx, dir, st.layers, p)
	})
	st.fs = key
	if cached {
		return l, p.cached()
	}
	return l, p.end(err)
}

func uppers(layers []*layer) (dirs []string, err error) {
	if len(layers) > 127 {
		return nil, fmt.Errorf("%d layers are more than the 127 that are allowed", len(layers))
	}
	for _, l := range layers {
		if l.Opaque {
			dirs = nil
		}
		dirs = append(dirs, path.Join(l.path, upperDir))
	}
	return dirs, nil
}

// pack makes the blob of what is in upper of dir, on layers, and removes what only the overlay needed.
func (b *builder) pack(ctx context.Context, dir string, below []*layer, p *step) (*layer, error) {
	scratch, err := openPath(dir)
	if err != nil {
		return nil, err
	}
	defer scratch.Close()
	if _, err := removeFunc.Do(ctx, b.cache.users, []string{"work", mergedDir, "stubs"}, gonso.Root(scratch)); err != nil {
		return nil, err
	}
	upper, err := openPath(path.Join(dir, upperDir))
	if err != nil {
		return nil, err
	}
	defer upper.Close()
	w, err := newBlob(path.Join(dir, "blob"), b.compression)
	if err != nil {
		return nil, err
	}
	defer w.file.Close()
	progress, told := make(chan packed), make(chan struct{})
	go func() {
		defer close(told)
		for at := range progress {
			p.say("packing: %d files, %d bytes", at.Files, at.Bytes)
		}
	}()
	n, err := packFunc.Do(ctx, b.cache.users, packIn{Out: w, Progress: progress, Layer: true, Attrs: rootOf(below), Epoch: b.epoch}, gonso.Root(upper))
	close(progress)
	<-told
	if err != nil {
		return nil, err
	}
	l, err := w.layer()
	if err == nil {
		l.Empty, l.Root = n.Files == 0, n.Root
		p.say("layer %s: %d files, %d bytes, %d compressed", short(l.Digest.Hex), n.Files, n.Bytes, l.Size)
	}
	return l, err
}

func (b *builder) workdir(ctx context.Context, st *state, c *instructions.WorkdirCommand, p *step) (*layer, error) {
	dir := c.Path
	if !path.IsAbs(dir) {
		dir = path.Join("/", st.config.Config.WorkingDir, dir)
	}
	dir = path.Clean(dir)
	st.config.Config.WorkingDir = dir
	user := st.config.Config.User // whose it is, if it is made
	return b.layer(ctx, st, p, digestOf("WORKDIR", dir, user), enterIn{User: user}, func(s *gonso.Set, e *entered) error {
		_, err := applyFunc.Do(ctx, s, applyIn{Dest: dir, Owner: &owner{int(e.UID), int(e.GID)}, Epoch: b.epoch}, gonso.Root(e.Root))
		return err
	})
}

// place is where a COPY puts things, in the image.
func (st *state) place(dest string) string {
	slash := ""
	if isDir(dest) {
		slash = "/"
	}
	if !path.IsAbs(dest) {
		dest = path.Join("/", st.config.Config.WorkingDir, dest)
	}
	return path.Clean(dest) + slash
}

// A source writes the archive of what is to be copied.
type source func(ctx context.Context, w io.Writer) (packed, error)

func (b *builder) copy(ctx context.Context, st *state, states []*state, s *stage, c *instructions.CopyCommand, p *step) (*layer, error) {
	l, err := b.copyFrom(ctx, st, states, s, c, p)
	return l, p.end(err)
}

func (b *builder) copyFrom(ctx context.Context, st *state, states []*state, s *stage, c *instructions.CopyCommand, p *step) (*layer, error) {
	in, err := b.copyOptions(ctx, st, c.Chown, c.Chmod, c.From == "")
	if err != nil {
		return nil, err
	}
	in.Sources, in.Dest = c.SourcePaths, c.DestPath
	if c.From == "" {
		return b.put(ctx, st, p, c.SourcesAndDest, in.Owner, b.contextLook(in, c.SourcesAndDest), b.contextSource(in, c.SourcesAndDest))
	}
	var layers []*layer
	if of := b.plan.stage(c.From, s.index); of != nil {
		layers = states[of.index].layers
	} else {
		img, err := b.image(ctx, c.From)
		if err != nil {
			return nil, fmt.Errorf("--from=%s: %w", c.From, err)
		}
		layers = img.layers
	}
	// The same layers have the same files.
	at := func(context.Context) (string, time.Time, error) {
		keys := make([]string, len(layers))
		for i, l := range layers {
			keys[i] = l.Key
		}
		return digestOf("layers", keys, in.Sources, isDir(in.Dest), in.Owner, c.Chmod, in.Epoch, in.Flat), time.Time{}, nil
	}
	return b.put(ctx, st, p, c.SourcesAndDest, in.Owner, at, func(ctx context.Context, w io.Writer) (n packed, err error) {
		dir, err := b.cache.scratch()
		if err != nil {
			return n, err
		}
		err = b.inside(ctx, layers, dir, p, enterIn{}, func(s *gonso.Set, e *entered) error {
			in := in
			in.Out = w
			n, err = packFunc.Do(ctx, s, in, gonso.Root(e.Root))
			return err
		})
		return n, errors.Join(err, b.cache.discard(dir))
	})
}

// copyOptions are --chown and --chmod.
func (b *builder) copyOptions(ctx context.Context, st *state, chown, chmod string, context bool) (in packIn, err error) {
	in.Epoch, in.Flat = b.epoch, context // a checkout has the time at which it was made
	if context {
		in.Owner, in.Ignore = &owner{}, b.ignore
	}
	if in.Mode, err = parseMode(chmod); err != nil {
		return in, err
	}
	if chown == "" {
		return in, nil
	}
	if in.Owner = ownerByNumbers(chown); in.Owner != nil {
		return in, nil
	}
	// Names are those of the image.
	dir, err := b.cache.scratch()
	if err != nil {
		return in, err
	}
	err = b.inside(ctx, st.layers, dir, nil, enterIn{User: chown}, func(_ *gonso.Set, e *entered) error {
		in.Owner = &owner{int(e.UID), int(e.GID)}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("--chown=%s: %w", chown, err)
	}
	return in, errors.Join(err, b.cache.discard(dir))
}

// ownerByNumbers is nil where --chown has a name.
func ownerByNumbers(chown string) *owner {
	user, group, both := strings.Cut(chown, ":")
	if !both {
		group = user // a number alone is that of the group, too
	}
	uid, err := strconv.ParseUint(user, 10, 31)
	gid, err2 := strconv.ParseUint(group, 10, 31)
	if err != nil || err2 != nil {
		return nil
	}
	return &owner{int(uid), int(gid)}
}

// reader is where the build context is read. Root reads it with root's rights, and the user namespace has none of
// those; for a plain user these are the same, and chroot needs the user namespace.
func (b *builder) reader() *gonso.Set {
	if os.Geteuid() == 0 {
		return new(gonso.Set)
	}
	return b.cache.users
}

// contextSource is the build context as a source.
func (b *builder) contextSource(in packIn, what instructions.SourcesAndDest) source {
	return func(ctx context.Context, w io.Writer) (n packed, err error) {
		if len(what.SourceContents) > 0 {
			return heredocs(in, what.SourceContents, w)
		}
		in.Out = w
		return packFunc.Do(ctx, b.reader(), in, gonso.Root(b.context))
	}
}

// contextLook looks at what contextSource reads.
func (b *builder) contextLook(in packIn, what instructions.SourcesAndDest) look {
	return func(ctx context.Context) (string, time.Time, error) {
		if len(what.SourceContents) > 0 {
			return "", time.Time{}, nil
		}
		h := sha256.New()
		in.Out, in.Look = h, true
		n, err := packFunc.Do(ctx, b.reader(), in, gonso.Root(b.context))
		return digestOf("context", sum(h).String()), time.Unix(0, n.Changed), err
	}
}

// put copies what a source has to the place that an instruction names.
func (b *builder) put(ctx context.Context, st *state, p *step, what instructions.SourcesAndDest, own *owner, at look, from source) (*layer, error) {
	n, err := b.sum(ctx, at, from)
	if err != nil || n.Nothing {
		return nil, err
	}
	digest := n.Digest
	dest := st.place(what.DestPath)
	in := applyIn{Dest: dest, File: n.File, Owner: own, Epoch: b.epoch}
	return b.layer(ctx, st, p, digestOf("COPY", digest.String(), dest, n.File, own), enterIn{}, func(s *gonso.Set, e *entered) error {
		r, w := io.Pipe()
		again := sha256.New()
		read := make(chan error, 1)
		go func() {
			_, err := from(ctx, io.MultiWriter(w, again))
			w.CloseWithError(err)
			read <- err
		}()
		in.In = r
		_, err := applyFunc.Do(ctx, s, in, gonso.Root(e.Root))
		r.CloseWithError(err)
		rerr := <-read
		if err == nil {
			err = rerr
		}
		if err == nil && sum(again) != digest {
			err = errors.New("the sources changed while they were copied")
		}
		return err
	})
}

func (b *builder) add(ctx context.Context, st *state, c *instructions.AddCommand, p *step) (*layer, error) {
	l, err := b.addFrom(ctx, st, c, p)
	return l, p.end(err)
}

// addFrom is COPY, but for one archive that is unpacked.
func (b *builder) addFrom(ctx context.Context, st *state, c *instructions.AddCommand, p *step) (*layer, error) {
	in, err := b.copyOptions(ctx, st, c.Chown, c.Chmod, true)
	if err != nil {
		return nil, err
	}
	in.Sources, in.Dest = c.SourcePaths, c.DestPath
	names, err := chooseFunc.Do(ctx, b.reader(), choice{in.Sources, in.Ignore, in.Dest}, gonso.Root(b.context))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		f, err := openFunc.Do(ctx, b.reader(), name, gonso.Root(b.context))
		if err != nil || f == nil { // what is wrong with it COPY says
			continue
		}
		defer f.Close()
		if !isArchive(f) {
			continue
		}
		if len(names)+len(c.SourceContents) > 1 {
			return nil, unsupported("the archive " + name[1:] + " along with other sources")
		}
		if c.Chown != "" || c.Chmod != "" {
			return nil, unsupported("--chown or --chmod along with the archive " + name[1:])
		}
		l, err := b.unpackArchive(ctx, st, f, st.place(c.DestPath)+"/", p)
		if err != nil {
			err = fmt.Errorf("%s: %w", name[1:], err)
		}
		return l, err
	}
	return b.put(ctx, st, p, c.SourcesAndDest, in.Owner, b.contextLook(in, c.SourcesAndDest), b.contextSource(in, c.SourcesAndDest))
}

// isArchive looks at the beginning of a file. One that cannot be decompressed is none: COPY says if it cannot be read.
func isArchive(f *os.File) bool {
	r, err := decompress(f)
	if err != nil {
		return false
	}
	defer r.Close()
	head := make([]byte, 64<<10)
	n, _ := io.ReadFull(r, head)
	return isTar(head[:n])
}

func (b *builder) unpackArchive(ctx context.Context, st *state, f *os.File, dest string, p *step) (*layer, error) {
	digest, err := b.sumFile(ctx, f)
	if err != nil {
		return nil, err
	}
	return b.layer(ctx, st, p, digestOf("ADD", digest.String(), dest), enterIn{}, func(s *gonso.Set, e *entered) error {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		r, err := decompress(f)
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = applyFunc.Do(ctx, s, applyIn{In: r, Dest: dest, Epoch: b.epoch}, gonso.Root(e.Root))
		return err
	})
}
