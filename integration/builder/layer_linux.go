package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// The functions of this file run inside, with the directory that they are about as their root (gonso.Root): no
// link and no ".." leads out of it, whatever others do meanwhile.
var (
	packFunc   = gonso.Register("builder.pack", pack)
	applyFunc  = gonso.Register("builder.apply", apply)
	removeFunc = gonso.Register("builder.remove", removeAll)
	openFunc   = gonso.Register("builder.open", openInside)
)

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
	xattr    = "SCHILY.xattr."
	ovl      = "user.overlay." // what overlayfs keeps in a user namespace
)

// packed is how far a packing has come, or how far it came.
type packed struct {
	Files int
	Bytes int64
	// File: what was asked for is one file, and no directory.
	File bool
	// Changed is when one of the files was changed last, in ns.
	Changed int64
	// Root is what a layer makes of the root directory, if anything.
	Root *attrs
}

// attrs are whose a directory is, and its mode.
type attrs struct {
	owner
	Mode uint32
}

func (a attrs) give(name string) error {
	if err := os.Chown(name, a.UID, a.GID); err != nil {
		return err
	}
	return unix.Chmod(name, a.Mode)
}

// rootOf is what layers make of the root directory.
func rootOf(layers []*layer) attrs {
	for _, l := range slices.Backward(layers) {
		if l.Root != nil {
			return *l.Root
		}
	}
	return attrs{Mode: 0o755}
}

type packIn struct {
	Out      io.Writer
	Progress chan<- packed

	// Layer: the root is what an overlay wrote; its whiteouts become those of the image specification. Without it
	// Sources are packed, each a pattern: of a directory what is in it, and a file by its last name.
	Layer   bool
	Attrs   attrs // of the root before; if it has others they are in the layer
	Sources []string
	Ignore  []string // lines of a .dockerignore
	Dest    string   // as it is written
	Look    bool     // what stat(2) says of files takes the place of what is in them

	Epoch int64 // times after it become it
	Flat  bool  // all times become it
	Owner *owner
	Mode  *uint32
}

type owner struct{ UID, GID int }

type unixStat = syscall.Stat_t

type packer struct {
	packIn
	tw     *tar.Writer
	seen   map[[2]uint64]string // by device and inode, of files with several links
	ignore ignorer
	packed
	told time.Time
}

func pack(ctx context.Context, in packIn) (packed, error) {
	p := &packer{packIn: in, tw: tar.NewWriter(in.Out), seen: make(map[[2]uint64]string), told: time.Now()}
	var err error
	if p.ignore, err = newIgnorer(in.Ignore); err != nil {
		return p.packed, fmt.Errorf(".dockerignore: %w", err)
	}
	if in.Layer {
		err = p.layer(ctx)
	} else {
		err = p.sources(ctx)
	}
	if err == nil {
		err = p.tw.Close()
	}
	return p.packed, err
}

func (p *packer) layer(ctx context.Context) error {
	var st unix.Stat_t
	if err := unix.Stat("/", &st); err != nil {
		return err
	}
	if is := (attrs{owner{int(st.Uid), int(st.Gid)}, st.Mode & 0o7777}); is != p.Attrs {
		p.Root = &is
		return p.tree(ctx, "/", ".")
	}
	return p.tree(ctx, "/", "")
}

func (p *packer) sources(ctx context.Context) error {
	found, err := choose(choice{p.Sources, p.Ignore, p.Dest}, p.ignore)
	if err != nil {
		return err
	}
	for _, name := range found {
		clear(p.seen) // what another source writes may take the place of a file with links
		st, err := os.Stat(name)
		if err != nil {
			return err
		}
		if st.IsDir() {
			if err := p.tree(ctx, name, "."); err != nil {
				return err
			}
			continue
		}
		if st.Mode()&fs.ModeSocket != 0 {
			return fmt.Errorf("%s is a socket, which means nothing without its process", name[1:])
		}
		p.File = len(found) == 1
		if err := p.entry(name, path.Base(name), st); err != nil {
			return err
		}
	}
	return nil
}

// tree packs what is below dir; first, if not empty, is the name of the directory itself.
func (p *packer) tree(ctx context.Context, dir, first string) error {
	return filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if rel == "." && first == "" {
			return nil
		}
		// A directory that is ignored may hold exceptions ("!").
		drop, err := p.ignore.matches(name)
		if err != nil {
			return err
		}
		if rel != "." && drop {
			if d.IsDir() && !p.ignore.Exclusions() {
				return fs.SkipDir
			}
			return nil
		}
		st, err := d.Info()
		if err != nil {
			return err
		}
		return p.entry(name, rel, st)
	})
}

// entry writes one file; name is where it is, as is its name in the archive.
func (p *packer) entry(name, as string, st fs.FileInfo) error {
	sys, ok := st.Sys().(*unixStat)
	if !ok {
		return fmt.Errorf("%s: it cannot be looked at", name)
	}
	if base := path.Base(as); strings.HasPrefix(base, whiteout) {
		return fmt.Errorf("%s: names that begin with %s mean that a file is gone, in a layer; give it another one", as, whiteout)
	}
	h := &tar.Header{Name: as, Mode: int64(sys.Mode & 0o7777), Uid: int(sys.Uid), Gid: int(sys.Gid), ModTime: time.Unix(p.Epoch, 0), Format: tar.FormatPAX}
	if mtime := time.Unix(int64(sys.Mtim.Sec), 0); !p.Flat && mtime.Before(h.ModTime) {
		h.ModTime = mtime
	}
	if p.Owner != nil {
		h.Uid, h.Gid = p.Owner.UID, p.Owner.GID
	}
	switch sys.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		h.Typeflag, h.Size = tar.TypeReg, st.Size()
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, as+"/"
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		to, err := os.Readlink(name)
		if err != nil {
			return err
		}
		h.Linkname = to
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR:
		if p.Layer && isWhiteout(sys) {
			h.Typeflag, h.Name, h.Mode = tar.TypeReg, path.Join(path.Dir(as), whiteout+path.Base(as)), 0
			h.Uid, h.Gid, h.ModTime = 0, 0, time.Unix(p.Epoch, 0)
			p.Files++
			return p.tw.WriteHeader(h)
		}
		return fmt.Errorf("%s is a device, and images that are built here hold none", as)
	case unix.S_IFBLK:
		return fmt.Errorf("%s is a device, and images that are built here hold none", as)
	default: // a socket in a directory
		return nil
	}
	if p.Mode != nil && h.Typeflag != tar.TypeSymlink {
		h.Mode = int64(*p.Mode)
	}
	if h.Typeflag != tar.TypeDir && sys.Nlink > 1 {
		id := [2]uint64{uint64(sys.Dev), sys.Ino}
		if first, ok := p.seen[id]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.tw.WriteHeader(h)
		}
		p.seen[id] = as
	}
	isOpaque, err := p.xattrs(h, name)
	if err != nil {
		return err
	}
	if p.Look && h.Typeflag == tar.TypeReg {
		p.Changed = max(p.Changed, changedAt(sys).UnixNano())
		h.Name, h.Size = fmt.Sprint(h.Name, identityOf(sys)), 0
	}
	if err := p.tw.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", as, err)
	}
	if isOpaque {
		if err := p.tw.WriteHeader(&tar.Header{Name: path.Join(as, opaque), Typeflag: tar.TypeReg, ModTime: time.Unix(p.Epoch, 0), Format: tar.FormatPAX}); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeReg && !p.Look {
		if err := p.content(name, h.Size); err != nil {
			return err
		}
	}
	p.Files++
	if now := time.Now(); now.Sub(p.told) > time.Second && p.Progress != nil {
		p.told = now
		p.Progress <- p.packed
	}
	return nil
}

func (p *packer) content(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := io.Copy(p.tw, io.LimitReader(f, size))
	p.Bytes += n
	if err == nil && n < size {
		err = fmt.Errorf("%s became shorter while it was read", name)
	}
	return err
}

// xattrs adds those of name to h, without those of the overlay.
func (p *packer) xattrs(h *tar.Header, name string) (isOpaque bool, err error) {
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(name, buf)
	if err == unix.ENOTSUP {
		return false, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "llistxattr", Path: name, Err: err}
	}
	for _, key := range strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		keep := strings.HasPrefix(key, "user.") || key == "security.capability"
		if !keep || strings.HasPrefix(key, ovl) && key != ovl+"opaque" {
			continue
		}
		n, err := unix.Lgetxattr(name, key, value)
		if err != nil {
			return false, &fs.PathError{Op: "lgetxattr " + key, Path: name, Err: err}
		}
		if key == ovl+"opaque" {
			isOpaque = isOpaque || p.Layer && string(value[:n]) == "y"
			continue
		}
		if h.PAXRecords == nil {
			h.PAXRecords = make(map[string]string)
		}
		h.PAXRecords[xattr+key] = string(value[:n])
	}
	return isOpaque, nil
}

type applyIn struct {
	In io.Reader // a tar

	// Layer: it is a layer of an image, for an overlay; whiteouts become those of overlayfs, and what is there already
	// came from the same layer.
	Layer bool
	Dest  string // where it goes, an absolute path; a "/" at its end says that it is a directory
	File  bool   // there is one file in it, which gets the name Dest unless that is a directory
	Owner *owner // of directories that are made on the way
	Epoch int64
}

// applied is what a layer makes of the root directory, which an overlay takes from its upper directory alone.
type applied struct {
	Root   *attrs `json:",omitempty"` // nil is nothing
	Opaque bool   `json:",omitempty"` // it hides all layers below
}

func apply(ctx context.Context, in applyIn) (applied, error) {
	a := &applier{applyIn: in, dirs: make(map[string]time.Time)}
	err := a.apply(ctx)
	return a.applied, err
}

func (a *applier) apply(ctx context.Context) error {
	in := a.applyIn
	unix.Umask(0)
	dir, as := path.Clean("/"+in.Dest), ""
	if in.File && !strings.HasSuffix(in.Dest, "/") {
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			dir, as = path.Split(dir)
		}
	}
	if err := a.mkdirs(dir); err != nil {
		return err
	}
	if in.In == nil { // WORKDIR
		return nil
	}
	tr := tar.NewReader(in.In)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("the archive: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue // of git archive: a comment
		}
		if as != "" {
			h.Name = as
		}
		if err := a.entry(dir, h, tr); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
	// The end of the archive may come before the end of the stream.
	if _, err := io.Copy(io.Discard, in.In); err != nil {
		return err
	}
	for name, t := range a.dirs {
		if err := setTime(name, t); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

type applier struct {
	applyIn
	applied
	dirs map[string]time.Time // their times change while they are filled
}

// mkdirs makes the directories of a path that are missing, also where links say that they are.
func (a *applier) mkdirs(dir string) error { return a.mkdirsAt(dir, 40) }

func (a *applier) mkdirsAt(dir string, links int) error {
	dir = path.Clean(dir)
	st, err := os.Stat(dir)
	if err == nil && st.IsDir() {
		return nil
	}
	if to, err := os.Readlink(dir); err == nil {
		if links == 0 {
			return &fs.PathError{Op: "mkdir", Path: dir, Err: unix.ELOOP}
		}
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(dir), to)
		}
		return a.mkdirsAt(to, links-1)
	}
	hides := err == nil && a.Layer && isWhiteout(st.Sys().(*unixStat))
	if hides {
		err = os.Remove(dir)
	} else if err == nil {
		err = fmt.Errorf("%s is there and is not a directory", dir)
	} else {
		err = a.mkdirsAt(path.Dir(dir), links)
	}
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if hides {
		if err := hide(dir); err != nil {
			return err
		}
	}
	a.dirs[dir] = time.Unix(a.Epoch, 0)
	if a.Owner != nil {
		return os.Chown(dir, a.Owner.UID, a.Owner.GID)
	}
	return nil
}

// within refuses names that do not stay below where they are put.
func within(name string) error {
	if path.IsAbs(name) {
		return errors.New("an absolute path, which an archive must not hold")
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return errors.New("a path with .., which could lead outside")
	}
	return nil
}

func (a *applier) entry(dir string, h *tar.Header, r io.Reader) error {
	if err := within(h.Name); err != nil {
		return err
	}
	name := path.Join(dir, h.Name)
	base := path.Base(name)
	if strings.HasPrefix(base, whiteout) {
		return a.whiteout(name)
	}
	if name != dir || a.Layer {
		if err := a.mkdirs(path.Dir(name)); err != nil {
			return err
		}
	}
	look := os.Lstat
	if h.Typeflag == tar.TypeDir && !a.Layer {
		look = os.Stat // what is copied goes through links of the image
	}
	there, err := look(name)
	made, hides := err != nil, false
	switch {
	case made:
	case there.IsDir() != (h.Typeflag == tar.TypeDir):
		if there.IsDir() && !a.Layer {
			return errors.New("there is a directory of that name")
		}
		if !there.IsDir() && !a.Layer {
			return errors.New("there is a file of that name, and no directory")
		}
		fallthrough
	case !there.IsDir():
		if err := os.RemoveAll(name); err != nil {
			return err
		}
		made, hides = true, h.Typeflag == tar.TypeDir // it takes the place of a whiteout, or of a file
	}
	if err := a.create(name, dir, h, r, made); err != nil {
		return err
	}
	if hides {
		if err := hide(name); err != nil {
			return err
		}
	}
	if name == "/" && a.Layer {
		a.Root = &attrs{owner{h.Uid, h.Gid}, uint32(h.Mode & 0o7777)}
	}
	if _, own := a.dirs[name]; h.Typeflag == tar.TypeLink || name == dir && !own && !a.Layer {
		return nil // the directory that is copied to was there before
	}
	return a.attributes(name, h)
}

func (a *applier) whiteout(name string) error {
	if !a.Layer {
		return fmt.Errorf("names that begin with %s mean that a file is gone, in a layer", whiteout)
	}
	parent, base := path.Split(name)
	if err := a.mkdirs(parent); err != nil {
		return err
	}
	if base == opaque {
		a.Opaque = a.Opaque || parent == "/"
		return hide(path.Clean(parent))
	}
	gone := path.Join(parent, strings.TrimPrefix(base, whiteout))
	if gone == path.Clean(parent) || strings.HasPrefix(path.Base(gone), whiteout) {
		return errors.New("a whiteout of nothing")
	}
	if st, err := os.Lstat(gone); err == nil { // made by this layer: the whiteout is for what is below
		if st.IsDir() {
			return hide(gone)
		}
		return nil
	}
	return unix.Mknod(gone, unix.S_IFCHR, 0)
}

// hide has a directory of a layer hide what the layers below have in it.
func hide(dir string) error {
	return unix.Lsetxattr(dir, ovl+"opaque", []byte("y"), 0)
}

func isWhiteout(st *unixStat) bool { return st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 }

func (a *applier) create(name, dir string, h *tar.Header, r io.Reader, made bool) error {
	switch h.Typeflag {
	case tar.TypeDir:
		if !made {
			return nil
		}
		return os.Mkdir(name, 0o700)
	case tar.TypeReg, tar.TypeGNUSparse, tar.TypeCont:
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, r)
		return errors.Join(err, f.Close())
	case tar.TypeSymlink:
		return os.Symlink(h.Linkname, name)
	case tar.TypeLink:
		if err := within(h.Linkname); err != nil {
			return fmt.Errorf("a link to %q: %w", h.Linkname, err)
		}
		return unix.Linkat(unix.AT_FDCWD, path.Join(dir, h.Linkname), unix.AT_FDCWD, name, 0)
	case tar.TypeFifo:
		return unix.Mkfifo(name, 0o600)
	case tar.TypeChar, tar.TypeBlock:
		return errors.New("a device, which may not be made in a user namespace")
	}
	return fmt.Errorf("a file of type %q, which is unknown", h.Typeflag)
}

func (a *applier) attributes(name string, h *tar.Header) error {
	if err := os.Lchown(name, h.Uid, h.Gid); err != nil {
		if errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("its owner %d:%d is not among the subordinate ids: give the user more in /etc/subuid and /etc/subgid", h.Uid, h.Gid)
		}
		return err
	}
	for key, value := range h.PAXRecords {
		key, ok := strings.CutPrefix(key, xattr)
		if !ok {
			continue
		}
		if strings.HasPrefix(key, ovl) || strings.HasPrefix(key, "trusted.") {
			return fmt.Errorf("the extended attribute %s, by which an archive could redirect an overlay", key)
		}
		if err := unix.Lsetxattr(name, key, []byte(value), 0); err != nil {
			return fmt.Errorf("the extended attribute %s: %w", key, err)
		}
	}
	if h.Typeflag != tar.TypeSymlink {
		if err := unix.Chmod(name, uint32(h.Mode&0o7777)); err != nil {
			return err
		}
	}
	if h.Typeflag == tar.TypeDir {
		a.dirs[name] = h.ModTime
		return nil
	}
	return setTime(name, h.ModTime)
}

func setTime(name string, t time.Time) error {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return err
	}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &fs.PathError{Op: "utimensat", Path: name, Err: err}
	}
	return nil
}

// removeAll removes what is in the root: all of it, or what is named.
func removeAll(_ context.Context, names []string) (struct{}, error) {
	var err error
	if names == nil {
		var entries []fs.DirEntry
		entries, err = os.ReadDir("/")
		for _, e := range entries {
			names = append(names, e.Name())
		}
	}
	for _, name := range names {
		err = errors.Join(err, os.RemoveAll("/"+name))
	}
	return struct{}{}, err
}

// openInside opens a regular file below the root.
func openInside(_ context.Context, name string) (*os.File, error) {
	f, err := os.OpenFile(path.Join("/", name), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		f.Close()
		return nil, nil
	}
	return f, err
}

// isTar looks at the beginning of an uncompressed file.
func isTar(head []byte) bool {
	_, err := tar.NewReader(bytes.NewReader(head)).Next()
	return err == nil
}
