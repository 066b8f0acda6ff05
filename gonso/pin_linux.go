package gonso

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/sys"
)

// This file pins by descriptors, because a path may lead to another file a moment later. It mounts
// on the same file that it has looked at. It finds a mount that it has to remove by the mount's own
// descriptor. So it uses open_tree and move_mount (Linux 5.2), and not mount(2).

// pinning is one call of Pin. A descriptor that is not open is -1.
type pinning struct {
	path   string // of the directory, for errors
	parent int    // of the directory that has to be made; base is its name
	base   string
	dir    int

	spots  []pinSpot
	names  []string // in dir
	mounts []int    // first detached, then mounted at the spot
	files  []int    // the files below the mounts, locked against other callers of Pin
}

func (c *core) pin(dir string) error {
	p := newPinning(dir)
	defer p.close()
	var err error
	c.types.each(func(i int, t Type) {
		if err == nil {
			err = p.add(c, t, typeTable[i].name, strings.TrimRight(dir, "/")+"/"+typeTable[i].name)
		}
	})
	if err != nil {
		return err
	}
	if p.dir, err = openDirectory(dir); errors.Is(err, fs.ErrNotExist) {
		var parent string
		if parent, p.base = splitPath(dir); p.base != "" {
			p.parent, err = openDirectory(parent)
		}
	}
	if err != nil {
		return p.error(c.types, dir, err)
	}
	return p.run()
}

func (c *core) pinOne(t Type, path string) error {
	dir, base := splitPath(path)
	if base == "" {
		return newError("pin", t, path, os.ErrInvalid).withHint("this names no file")
	}
	p := newPinning(dir)
	defer p.close()
	if err := p.add(c, t, base, path); err != nil {
		return err
	}
	var err error
	if p.dir, err = openDirectory(dir); err != nil {
		return p.error(t, path, err)
	}
	return p.run()
}

// splitPath gives the directory of a path and the name in it. The name is empty if the path does
// not end in a name.
func splitPath(path string) (dir, base string) {
	dir, base = filepath.Split(strings.TrimRight(path, "/"))
	if base == "." || base == ".." {
		base = ""
	}
	if dir == "" {
		dir = "."
	}
	return dir, base
}

func newPinning(dir string) *pinning { return &pinning{path: dir, parent: -1, dir: -1} }

// add makes the mount, and attaches it nowhere yet. It comes first, so that a caller without the
// privilege for it changes nothing.
func (p *pinning) add(c *core, t Type, name, path string) error {
	fd, err := unix.OpenTree(c.ns[t.index()].FD(), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return p.error(t, path, os.NewSyscallError("open_tree", err))
	}
	p.spots = append(p.spots, pinSpot{typ: t, path: path})
	p.names = append(p.names, name)
	p.mounts = append(p.mounts, fd)
	p.files = append(p.files, -1)
	return nil
}

func (p *pinning) close() {
	// A mount that was not attached goes with its descriptor.
	for _, fd := range slices.Concat(p.mounts, p.files, []int{p.dir, p.parent}) {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// run looks at the spots, plans, and takes all steps of the plan. After an error it undoes them.
func (p *pinning) run() error {
	if p.dir >= 0 {
		for i := range p.spots {
			if err := p.look(i); err != nil {
				return p.error(p.spots[i].typ, p.spots[i].path, err)
			}
		}
	}
	steps, err := planPin(p.dir < 0, p.spots)
	if err != nil {
		return err
	}
	for i, s := range steps {
		err := p.do(s)
		if err == nil {
			continue
		}
		at := p.spots[s.spot]
		if s.act == makeDir {
			at = pinSpot{path: p.path}
		}
		return joined(append([]error{p.errorAt(at.typ, at.path, err, p.files[s.spot])}, p.undoAll(steps[:i])...))
	}
	return nil
}

// undoAll undoes what was done, the last step first.
func (p *pinning) undoAll(done []pinStep) (errs []error) {
	for _, s := range slices.Backward(done) {
		if err := p.undo(s); err != nil {
			errs = append(errs, newError("undo pin", p.spots[s.spot].typ, p.spots[s.spot].path, err))
		}
	}
	return errs
}

// look finds out what is at a spot.
func (p *pinning) look(i int) error {
	kind, fd, err := lookAt(p.dir, p.names[i])
	defer closeFD(fd)
	p.spots[i].kind = kind
	if err != nil || kind != spotEmpty {
		return err
	}
	if p.files[i], err = reopen(fd, unix.O_RDONLY|unix.O_NONBLOCK); err != nil {
		return err
	}
	return p.claim(i)
}

// claim locks a file and looks at it once more, so that one of two callers fails if both pin there
// at the same time. On a file system without locks it only looks.
func (p *pinning) claim(i int) error {
	if err := unix.Flock(p.files[i], unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
		return errChanging
	}
	kind, fd, err := lookAt(p.dir, p.names[i])
	defer closeFD(fd)
	if err == nil && (kind != spotEmpty || !sameFile(fd, p.files[i])) {
		err = errChanging
	}
	return err
}

var errChanging = sys.Wrap("somebody else is changing what is there", unix.EBUSY)

// lookAt opens a file, directory or link of any kind, and changes nothing. fd is -1 if the name
// does not exist.
func lookAt(dir int, name string) (kind spotKind, fd int, err error) {
	fd, err = unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return spotMissing, -1, nil
	}
	var st unix.Stat_t
	var sf unix.Statfs_t
	if err == nil {
		err = errors.Join(unix.Fstat(fd, &st), unix.Fstatfs(fd, &sf))
	}
	switch {
	case err != nil:
		return spotOther, fd, err
	case int64(sf.Type) == unix.NSFS_MAGIC:
		return spotPinned, fd, nil
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		if st.Size == 0 {
			return spotEmpty, fd, nil
		}
		return spotFilled, fd, nil
	case unix.S_IFDIR:
		return spotDirectory, fd, nil
	case unix.S_IFLNK:
		return spotSymlink, fd, nil
	}
	return spotOther, fd, nil
}

func (p *pinning) do(s pinStep) (err error) {
	i := s.spot
	switch s.act {
	case makeDir:
		if err := unix.Mkdirat(p.parent, p.base, 0o755); err != nil {
			return os.NewSyscallError("mkdir", err)
		}
		p.dir, err = unix.Openat(p.parent, p.base, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	case makeFile:
		p.files[i], err = unix.Openat(p.dir, p.names[i], unix.O_CREAT|unix.O_EXCL|unix.O_RDONLY|unix.O_CLOEXEC, 0o444)
		if err != nil {
			return os.NewSyscallError("open", err)
		}
		err = p.claim(i)
	case attach:
		err = unix.MoveMount(p.mounts[i], "", p.files[i], "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
		return os.NewSyscallError("move_mount", err)
	}
	if err != nil {
		err = joined([]error{err, p.undo(s)})
	}
	return err
}

func (p *pinning) undo(s pinStep) error {
	switch i := s.spot; s.act {
	case makeDir:
		return removeDir(p.parent, p.base)
	case makeFile:
		_, fd, err := lookAt(p.dir, p.names[i])
		defer closeFD(fd)
		if err != nil || fd < 0 || !sameFile(fd, p.files[i]) {
			return err // somebody else's
		}
		return os.NewSyscallError("unlink", unix.Unlinkat(p.dir, p.names[i], 0))
	default:
		return os.NewSyscallError("umount", unmountFD(p.mounts[i]))
	}
}

func unmountFD(fd int) error { return procfs.Unmount(fd) }

func closeFD(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}

func sameFile(a, b int) bool {
	var sa, sb unix.Stat_t
	return unix.Fstat(a, &sa) == nil && unix.Fstat(b, &sb) == nil && sa.Dev == sb.Dev && sa.Ino == sb.Ino
}

func (p *pinning) error(t Type, path string, err error) error {
	return p.errorAt(t, path, err, -1)
}

// errorAt explains an error by facts about the mount that the file is on.
func (p *pinning) errorAt(t Type, path string, err error, file int) error {
	e := newError("pin", t, path, err)
	if aboutMounts(err) {
		ev := gatherPin()
		ev.dir = p.path
		if file >= 0 {
			ev.mount = mountOf(file)
		}
		e.Hint = pinHint(t, err, ev)
	}
	return e
}

// aboutMounts reports whether the kernel's error is about a mount. Other errors are about files.
func aboutMounts(err error) bool {
	var se *os.SyscallError
	return errors.As(err, &se) && (se.Syscall == "open_tree" || se.Syscall == "move_mount" || se.Syscall == "umount")
}

func gatherPin() *pinEvidence {
	ev := &pinEvidence{evidence: *gatherEvidence(0)}
	ev.owner = ownerOfMounts()
	return ev
}

// mountOf finds the mount that an open file is on.
func mountOf(fd int) mountLine {
	value, err := procfs.FDInfo(fd, "mnt_id")
	if err != nil {
		return mountLine{}
	}
	mounts, err := threadMounts()
	if err != nil {
		return mountLine{}
	}
	id, _ := strconv.Atoi(value)
	for _, m := range mounts {
		if m.id == id {
			return m
		}
	}
	return mountLine{}
}

func unpin(path string) error {
	dir, base := splitPath(path)
	if base == "" { // such as ".": a directory that cannot be removed by this name
		dir, base = path, "."
	}
	parent, err := openDirectory(dir)
	if err == unix.ENOENT && path != "" {
		return nil
	}
	if err != nil {
		return newError("unpin", 0, path, err)
	}
	defer unix.Close(parent)
	kind, fd, err := lookAt(parent, base)
	defer closeFD(fd)
	switch {
	case err != nil:
	case kind == spotMissing:
	case kind == spotPinned, kind == spotEmpty:
		var did bool
		if did, err = unpinFile(parent, base); err == nil && !did {
			err = ErrNotNamespace
		}
	case kind == spotDirectory:
		err = unpinDir(parent, base, fd)
	default:
		err = ErrNotNamespace
	}
	if err == nil {
		return nil
	}
	e := stale(newError("unpin", 0, path, err), parent, base)
	if aboutMounts(err) {
		e.Hint = pinHint(0, err, gatherPin())
	}
	return e
}

// unpinDir unpins the files that are named like types. If there was at least one, it removes the
// directory, unless the directory has other files.
func unpinDir(parent int, base string, dir int) error {
	found := false
	var errs []error
	AllTypes.each(func(i int, _ Type) {
		did, err := unpinFile(dir, typeTable[i].name)
		found = found || did
		if err != nil {
			errs = append(errs, err)
		}
	})
	if len(errs) > 0 {
		return joined(errs)
	}
	if !found {
		return ErrNotNamespace
	}
	if base == "." {
		return nil
	}
	return removeDir(parent, base)
}

// removeDir removes a directory. It leaves a directory that has other files in it or a mount on it.
func removeDir(parent int, base string) error {
	switch err := unix.Unlinkat(parent, base, unix.AT_REMOVEDIR); err {
	case nil, unix.ENOTEMPTY, unix.EEXIST, unix.EBUSY:
		return nil
	default:
		return os.NewSyscallError("rmdir", err)
	}
}

// unpinFile unmounts every namespace at the name. Then it removes the empty file below, also one
// that somebody else has left there. did says whether there was a namespace or an empty file.
func unpinFile(dir int, name string) (did bool, err error) {
	pinned := false
	for {
		kind, fd, err := lookAt(dir, name)
		if err == nil && kind == spotPinned {
			err = os.NewSyscallError("umount", unmountFD(fd))
			closeFD(fd)
			if err != nil {
				return pinned, err
			}
			pinned = true
			continue
		}
		if err == nil && kind == spotEmpty && !pinned {
			var left bool
			left, err = removeLeft(dir, name, fd)
			closeFD(fd)
			return left, err
		}
		closeFD(fd)
		if err != nil || !pinned || kind != spotEmpty {
			return pinned, err
		}
		return pinned, unlinkPin(dir, name)
	}
}

// removeLeft removes an empty file without a mount on it. left says whether the file was one that a
// pin may have left. Files in file systems of the kernel look empty, too, but they are not: to
// remove a file of a bpffs is to unpin a program or a map.
func removeLeft(dir int, name string, fd int) (left bool, err error) {
	w := &found{fd: fd}
	if err := unix.Fstat(fd, &w.stat); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	if w.ordinary() != nil {
		return false, nil
	}
	// It claims the file as Pin does, because another Pin may be about to mount here. A user who
	// may not open the file may still remove it, and removes it without the claim.
	p := newPinning("")
	p.dir, p.names = dir, []string{name}
	if file, err := reopen(fd, unix.O_RDONLY|unix.O_NONBLOCK); err == nil {
		defer unix.Close(file)
		p.files = []int{file}
		if err := p.claim(0); err != nil {
			return true, err
		}
	}
	return true, unlinkPin(dir, name)
}

func unlinkPin(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == unix.EBUSY {
		err = unlinkHidden(dir, name)
	}
	if err == nil || err == unix.ENOENT {
		return nil
	}
	return os.NewSyscallError("unlink", err)
}

// unlinkHidden removes a file that still has a hidden pin. The pin is below another mount on the
// directory, as "ip netns add" makes one on /run/netns. No path leads to the pin, and unlink(2)
// answers EBUSY. In a mnt namespace that has no mounts on the file, unlink(2) succeeds. The kernel
// then removes the file's mounts in all other mnt namespaces (vfs_unlink in fs/namei.c,
// __detach_mounts in fs/namespace.c).
func unlinkHidden(dir int, name string) error {
	kind, fd, err := lookAt(dir, name)
	closeFD(fd)
	if err != nil || kind != spotEmpty {
		return err // somebody has pinned there anew
	}
	c := newCore()
	defer c.release()
	rerr := c.runOnThread(context.Background(), nil, func(r *threadRun) bool {
		r.entered |= Mount
		if err = unmountAll(); err == nil {
			err = unix.Unlinkat(dir, name, 0)
		}
		return false // the thread ends, and its mnt namespace with it
	}, nil)
	if rerr != nil {
		return rerr
	}
	return err
}

// unmountAll moves the calling thread to a new mnt namespace, and unmounts there all that it can.
func unmountAll() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	mounts, err := threadMounts()
	if err != nil {
		return err
	}
	// A mount that lies on another one comes after it in the list.
	for _, m := range slices.Backward(mounts) {
		if m.point != "/" {
			_ = unix.Unmount(m.point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
	}
	return nil
}
