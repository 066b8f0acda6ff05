package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"golang.org/x/sys/unix"
)

var errInterrupted = errors.New("interrupted")

// start carries out a command, and returns the exit status.
func start(name string, o *options) int {
	unix.Umask(0o022) // root inside comes by the directories of the cache, too
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	go func() {
		<-signals
		cancel(errInterrupted)
	}()
	err := do(ctx, name, o, func() { signal.Reset(unix.SIGINT, unix.SIGTERM, unix.SIGHUP) })
	if err == nil {
		return 0
	}
	if errors.Is(context.Cause(ctx), errInterrupted) {
		fmt.Fprintln(os.Stderr, "builder: interrupted")
		return 130
	}
	fmt.Fprintln(os.Stderr, "builder:", printable(err.Error()))
	return 1
}

func do(ctx context.Context, name string, o *options, own func()) (err error) {
	if o.timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("it did not end within %v (--timeout)", o.timeout))
		defer stop()
	}
	b := &builder{progress: &progress{out: os.Stderr}, contexts: o.contexts, compression: o.compression, epoch: o.epoch, hostNet: o.network == "host", processes: o.processes, verbose: o.verbose}
	var last *stage
	if name == "build" { // what is wrong with the Dockerfile is said before anything is made
		if last, err = b.read(ctx, o); err != nil {
			return err
		}
		defer b.context.Close()
		for _, to := range o.outputs {
			if err := checkOutput(to); err != nil {
				return fmt.Errorf("-o %s: %w", to, err)
			}
		}
	}
	if b.cache, err = openCache(ctx, o.cache, name == "prune"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.cache.close()) }()
	switch name {
	case "build":
		if onTerminal, err := o.onTerminal(); err != nil {
			return err
		} else if onTerminal {
			b.progress.live = newLive(os.Stderr)
			defer b.progress.close()
		}
		if o.noCache {
			b.cache.fresh = filepath.Base(b.cache.tmp)
		}
		return b.finish(ctx, o, last)
	case "run":
		own() // RunAndExit passes signals on
		return b.runImage(ctx, o.rest[0], o.rest[1:])
	case "du":
		return b.cache.list()
	}
	return b.cache.prune(ctx)
}

// onTerminal says whether progress is shown live.
func (o *options) onTerminal() (bool, error) {
	if o.progress == "plain" {
		return false, nil
	}
	size, err := unix.IoctlGetWinsize(int(os.Stderr.Fd()), unix.TIOCGWINSZ)
	is := err == nil && size.Col > 0 && size.Row > 0
	if !is && o.progress == "tty" {
		return false, errors.New("--progress=tty: standard error is no terminal with a size: write plain, or auto")
	}
	return is, nil
}

func (b *builder) read(ctx context.Context, o *options) (*stage, error) {
	file := o.file
	if file == "" {
		file = filepath.Join(o.rest[0], "Dockerfile")
	}
	if err := b.openContext(ctx, o.rest[0], file); err != nil {
		return nil, err
	}
	f, err := openText(ctx, file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var last *stage
	b.plan, last, err = readPlan(file, f, o.target, o.args)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return last, err
}

// openText opens a regular file, or a pipe without a name, as of a shell's <(...). One with a name would be opened when
// somebody writes to it, and not before. Reading ends with the context.
func openText(ctx context.Context, name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() && !isPipe(f) {
		return nil, errors.Join(err, f.Close(), fmt.Errorf("%s is no regular file", name))
	}
	context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Now()) }) // regular files have none
	return f, nil
}

func readText(ctx context.Context, name string) ([]byte, error) {
	f, err := openText(ctx, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// finish builds, writes the image to where it is to go, and prints its digest.
func (b *builder) finish(ctx context.Context, o *options, last *stage) error {
	img, err := b.build(ctx, last)
	if err != nil {
		return err
	}
	out, err := img.oci()
	if err != nil {
		return err
	}
	tag := o.tag
	if tag == "" {
		tag = "latest"
	}
	for _, to := range o.outputs {
		step := b.progress.step("exporting to " + to)
		if strings.HasSuffix(to, ".tar") {
			err = b.cache.writeArchive(ctx, out, to, tag)
		} else {
			err = writeLayout(ctx, out, to, tag)
		}
		if step.end(err) != nil {
			return err
		}
	}
	if o.push {
		step := b.progress.step("pushing to " + o.tag)
		if err := step.end(push(ctx, out, o.tag)); err != nil {
			return err
		}
	}
	if o.tag != "" {
		n := named{Name: o.tag}
		if n.Config, err = out.RawConfigFile(); err != nil {
			return err
		}
		for _, l := range img.layers {
			n.Layers = append(n.Layers, l.Key)
		}
		if err := b.cache.setName(n); err != nil {
			return err
		}
	}
	digest, err := out.Digest()
	if err == nil {
		b.progress.close()
		fmt.Println(digest)
	}
	return err
}

// checkOutput finds before the build what would be in the way of writing to a place after it.
func checkOutput(to string) error {
	dir := to
	if strings.HasSuffix(to, ".tar") {
		dir = filepath.Dir(to)
		if st, err := os.Stat(to); err == nil && st.IsDir() {
			return errors.New("it is a directory, and a name that ends with .tar is a file")
		}
	} else if index, err := layout.ImageIndexFromPath(to); err == nil {
		if _, err := index.IndexManifest(); err != nil {
			return fmt.Errorf("index.json of the layout that is there: %w", err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	st, err := os.Stat(dir)
	for dir == to && errors.Is(err, fs.ErrNotExist) { // a layout is made with the directories above it
		to = filepath.Dir(to)
		dir = to
		st, err = os.Stat(dir)
	}
	switch {
	case err != nil:
		return err
	case !st.IsDir():
		return fmt.Errorf("%s is no directory", dir)
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &fs.PathError{Op: "write", Path: dir, Err: err}
	}
	return nil
}

func (c *cache) list() error {
	all, err := c.usage()
	var sum int64
	for _, u := range all {
		fmt.Printf("%12d %s\n", u.Bytes, u.Path)
		sum += u.Bytes
	}
	fmt.Printf("%12d in %s\n", sum, c.dir)
	return err
}

// leave removes what this builder has below tmp, before another program takes its place.
func (c *cache) leave() error {
	err := c.discard(c.tmp)
	c.tmp = ""
	return err
}
