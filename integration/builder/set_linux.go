package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/gonso/gonso/gonso"
)

// This file makes the Sets: the user namespace in which everything is, and one for each step that changes files.

// userNS makes the user namespace in which everything is. Its root is nobody outside: for a plain user the user, who
// could do the same without it, but for root an id that owns nothing.
func userNS() (*gonso.Set, error) {
	if os.Geteuid() != 0 {
		s, err := gonso.Unshare(gonso.User, gonso.SubIDs())
		if errors.Is(err, gonso.ErrNoSubIDs) {
			err = fmt.Errorf("%w; images hold files of many users, so give this one some: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %d", err, os.Getuid())
		}
		return s, err
	}
	s, err := gonso.Unshare(gonso.User, gonso.OnlySubIDs())
	if errors.Is(err, gonso.ErrNoSubIDs) { // ids that systemd's table of ids has as unused
		ids := []gonso.IDMap{{HostID: 0x70000000, Size: 65536}}
		return gonso.Unshare(gonso.User, gonso.IDMaps(ids, ids))
	}
	return s, err
}

// root makes a Set with a root file system.
func (b *builder) root(ctx context.Context, in enterIn) (*gonso.Set, *entered, error) {
	types, options := gonso.Mount, []gonso.UnshareOption(nil)
	if in.Run {
		types |= gonso.PID | gonso.IPC | gonso.UTS | gonso.Cgroup
		if !in.HostNet {
			types, options = types|gonso.Net, append(options, gonso.LoopbackUp())
		}
	}
	for _, f := range in.Streams { // inside they get no other owner unless theirs is an id there
		if err := f.Chown(b.cache.root.UID, b.cache.root.GID); err != nil && !errors.Is(err, fs.ErrPermission) {
			return nil, nil, err
		}
	}
	s, err := b.cache.users.Unshare(types, options...)
	if err != nil {
		return nil, nil, err
	}
	// In a process of its own, which has ended before anything of the image runs.
	e, err := enterFunc.Do(ctx, s, in, gonso.Isolated())
	if err != nil {
		s.Close()
		return nil, nil, err
	}
	return s, e, nil
}

// on puts the root file system on layers.
func (in *enterIn) on(layers []*layer) (err error) {
	in.Layers, err = uppers(layers)
	in.Attrs = rootOf(layers)
	return err
}

// inside runs work in a Set whose root is an overlay of layers, and returns when nothing runs there any more.
func (b *builder) inside(ctx context.Context, layers []*layer, dir string, p *step, in enterIn, work func(s *gonso.Set, e *entered) error) error {
	if err := in.on(layers); err != nil {
		return err
	}
	in.Scratch = dir
	s, e, err := b.root(ctx, in)
	if err != nil {
		return err
	}
	if b.verbose {
		p.say("in %v; functions: %v", s.Types(), s.Plan().Functions)
	}
	err = work(s, e)
	s.Close()
	if e.Root != nil {
		e.Root.Close()
	}
	if in.Run {
		ctx, stop := context.WithTimeoutCause(context.WithoutCancel(ctx), 30*time.Second, errors.New("processes that were killed are still there after 30 s"))
		defer stop()
		err = errors.Join(err, s.Wait(ctx))
	}
	return err
}
