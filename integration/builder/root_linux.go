package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// This file is the root file system that a Set gets: an overlay of layers, and for what runs there a /proc, /dev and
// /sys of its own. All is found by descriptors: an image that is hostile has nothing to put in the way.

var enterFunc = gonso.Register("builder.enter", enter)

const (
	upperDir  = "upper"
	mergedDir = "merged"
)

type mount struct {
	Target string
	Dir    string // of the cache; empty is a tmpfs
	Size   int64
}

type enterIn struct {
	// Paths, since the kernel takes directories for an overlay, or for a bind mount, from its own mount namespace only:
	// descriptors from outside it refuses (EINVAL).
	Layers  []string // directories, the lowest first
	Scratch string   // a directory for what the overlay needs
	Tmp     bool     // ... on a tmpfs, which ends with the Set

	// Run: processes will run there. Without it the overlay is all that is made.
	Run      bool
	HostNet  bool
	Hostname string
	User     string // as in USER
	Dir      string // as in WORKDIR
	Mounts   []mount
	Files    map[string]string // for /dev/pipes
	Streams  []*os.File        // pipes, of id 0 inside, that become the user's: programs open them again, as /dev/stdout

	Attrs attrs // of the root directory, as the layers have it
}

type entered struct {
	Root *os.File // of the overlay, without Run

	UID, GID uint32
	Groups   []uint32
	Home     string
}

func enter(_ context.Context, in enterIn) (*entered, error) {
	out := new(entered)
	scratch, err := openDir(in.Scratch)
	if err != nil {
		return nil, err
	}
	if in.Tmp {
		tmp, err := fresh("tmpfs", 0, "mode", "0755")
		if err != nil {
			return nil, err
		}
		if err := moveMount(tmp, scratch); err != nil {
			return nil, err
		}
		scratch = tmp
	}
	merged, err := overlay(in, scratch)
	if err != nil {
		return nil, err
	}
	out.Root = os.NewFile(uintptr(merged), mergedDir)
	if out.UID, out.GID, out.Groups, out.Home, err = identity(merged, in.User); err != nil {
		return nil, err
	}
	for _, f := range in.Streams {
		if err := f.Chown(int(out.UID), int(out.GID)); err != nil && !errors.Is(err, fs.ErrPermission) { // somebody else's
			return nil, err
		}
	}
	if !in.Run {
		return out, nil
	}
	if err := unix.Sethostname([]byte(in.Hostname)); err != nil {
		return nil, os.NewSyscallError("sethostname", err)
	}
	if err := populate(merged, in, fmt.Sprintf("/proc/self/fd/%d/stubs/", scratch)); err != nil {
		return nil, err
	}
	if err := pivot(merged); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(path.Join("/", in.Dir), 0o755); err != nil {
		return nil, fmt.Errorf("WORKDIR %s: %w", in.Dir, err)
	}
	out.Root = nil
	return out, nil
}

func openDir(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// stubs are what the /etc of an image may lack. They are in the lowest layer, as the places to mount on are, so that
// nothing of them comes into another layer. One with text is a mount, too: what is appended would bring its text along.
var stubs = map[string]string{
	"etc/hostname": "", "etc/resolv.conf": "",
	"etc/hosts": "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
}

func overlay(in enterIn, scratch int) (merged int, err error) {
	at := fmt.Sprintf("/proc/self/fd/%d/", scratch)
	for _, dir := range []string{upperDir, "work", mergedDir, "stubs"} {
		if err := os.Mkdir(at+dir, 0o755); err != nil {
			return -1, err
		}
	}
	if err := in.Attrs.give(at + upperDir); err != nil {
		return -1, err
	}
	if in.Run {
		dirs := []string{"proc", "sys", "dev"}
		hasEtc := false
		for _, l := range in.Layers {
			st, err := os.Lstat(l + "/etc")
			hasEtc = hasEtc || err == nil && st.IsDir()
		}
		if hasEtc {
			dirs = append(dirs, "etc")
		}
		for _, m := range in.Mounts {
			dirs = append(dirs, m.Target)
		}
		for _, dir := range dirs {
			if err := os.MkdirAll(at+"stubs/"+path.Clean("/"+dir), 0o755); err != nil {
				return -1, err
			}
		}
		for name, text := range stubs {
			if !hasEtc {
				break
			}
			if err := os.WriteFile(at+"stubs/"+name, []byte(text), 0o644); err != nil {
				return -1, err
			}
		}
	}
	var lower strings.Builder
	for _, path := range slices.Backward(in.Layers) {
		dir, err := openDir(path) // open until this process ends
		if err != nil {
			return -1, err
		}
		fmt.Fprintf(&lower, "/proc/self/fd/%d:", dir)
	}
	options := fmt.Sprintf("userxattr,lowerdir=%s%sstubs,upperdir=%s%s,workdir=%swork", lower.String(), at, at, upperDir, at)
	if len(options) >= os.Getpagesize() {
		return -1, fmt.Errorf("%d layers are too many for one overlay", len(in.Layers))
	}
	if err := unix.Mount("overlay", at+mergedDir, "overlay", 0, options); err != nil {
		return -1, fmt.Errorf("overlay in a user namespace (Linux 5.11): %w", os.NewSyscallError("mount", err))
	}
	merged, err = unix.Openat(scratch, mergedDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return merged, os.NewSyscallError("openat", err)
}

// lacks says that no layer has a file, or a link on the way to it.
func lacks(layers []string, name string) bool {
	return !slices.ContainsFunc(layers, func(layer string) bool {
		_, err := os.Lstat(path.Join(layer, name))
		dir, derr := os.Lstat(path.Join(layer, path.Dir(name)))
		return err == nil || derr == nil && !dir.IsDir()
	})
}

// populate gives the root what programs expect.
func populate(root int, in enterIn, stubsDir string) error {
	const safe = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	if err := freshAt(root, "proc", "proc", safe); err != nil {
		return err
	}
	if err := freshAt(root, "dev", "tmpfs", unix.MOUNT_ATTR_NOSUID, "mode", "0755", "size", "1m"); err != nil {
		return err
	}
	if err := devices(root, in.Files); err != nil {
		return err
	}
	for name, text := range stubs {
		if text == "" || !lacks(in.Layers, name) {
			continue
		}
		err := bindAt(root, name, stubsDir+name, false)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // an image without /etc does without
			return err
		}
	}
	if in.HostNet { // whose sysfs only the host's root could mount anew
		if err := bindAt(root, "sys", "/sys", true); err != nil {
			return err
		}
		for _, name := range []string{"etc/resolv.conf", "etc/hosts"} {
			err := bindAt(root, name, "/"+name, true)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	} else if err := freshAt(root, "sys", "sysfs", safe|unix.MOUNT_ATTR_RDONLY); err != nil {
		return err
	}
	for _, m := range in.Mounts {
		if err := attachMount(root, m); err != nil {
			return fmt.Errorf("--mount at %s: %w", m.Target, err)
		}
	}
	return nil
}

func attachMount(root int, m mount) error {
	if m.Dir == "" {
		size := m.Size
		if size == 0 {
			size = 256 << 20
		}
		return freshAt(root, m.Target, "tmpfs", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, "mode", "1777", "size", strconv.FormatInt(size, 10))
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, m.Dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	return attach(root, m.Target, tree)
}

func devices(root int, files map[string]string) error {
	dev, err := unix.Openat(root, "dev", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("openat", err)
	}
	defer unix.Close(dev)
	at := fmt.Sprintf("/proc/self/fd/%d", dev) // a tmpfs that nobody else has seen yet
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := os.WriteFile(at+"/"+name, nil, 0o666); err != nil {
			return err
		}
		if err := bindAt(root, "dev/"+name, "/dev/"+name, false); err != nil {
			return err
		}
	}
	for name, to := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
		"stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"} {
		if err := os.Symlink(to, at+"/"+name); err != nil {
			return err
		}
	}
	for _, name := range []string{"pts", "shm", "pipes"} {
		if err := os.Mkdir(at+"/"+name, 0o755); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := os.WriteFile(at+"/pipes/"+path.Base(name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	const plain = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	if err := freshAt(root, "dev/shm", "tmpfs", plain, "mode", "1777", "size", "64m"); err != nil {
		return err
	}
	return freshAt(root, "dev/pts", "devpts", unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC, "newinstance", "", "ptmxmode", "0666", "mode", "0620")
}

// pivot makes the mount root that of the mount namespace, and takes all else out of it.
func pivot(root int) error {
	if err := unix.Fchdir(root); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return os.NewSyscallError("pivot_root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return os.NewSyscallError("umount", err)
	}
	return os.Chdir("/")
}

// fresh makes a mount that is nowhere yet. Options go in pairs; one with an empty value is a flag.
func fresh(kind string, attrs int, options ...string) (int, error) {
	fail := func(op string, err error) (int, error) {
		return -1, fmt.Errorf("%s: %w", kind, os.NewSyscallError(op, err))
	}
	f, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fail("fsopen", err)
	}
	defer unix.Close(f)
	for i := 0; i < len(options); i += 2 {
		if options[i+1] == "" {
			err = unix.FsconfigSetFlag(f, options[i])
		} else {
			err = unix.FsconfigSetString(f, options[i], options[i+1])
		}
		if err != nil {
			return fail("fsconfig "+options[i], err)
		}
	}
	if err := unix.FsconfigCreate(f); err != nil {
		return fail("fsconfig", err)
	}
	m, err := unix.Fsmount(f, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return fail("fsmount", err)
	}
	return m, nil
}

func freshAt(root int, at, kind string, attrs int, options ...string) error {
	m, err := fresh(kind, attrs, options...)
	if err != nil {
		return err
	}
	return attach(root, at, m)
}

// bindAt shows a file or directory of the host. With all, what is mounted below it is shown too, and read-only.
func bindAt(root int, at, from string, all bool) error {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if all {
		flags |= unix.AT_RECURSIVE
	}
	m, err := unix.OpenTree(unix.AT_FDCWD, from, flags)
	if err != nil {
		return fmt.Errorf("%s: %w", from, os.NewSyscallError("open_tree", err))
	}
	if all {
		if err := unix.MountSetattr(m, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}); err != nil {
			return fmt.Errorf("%s: %w", from, os.NewSyscallError("mount_setattr", err))
		}
	}
	return attach(root, at, m)
}

// attach puts a mount on a path of the root, through none of its links, and closes it.
func attach(root int, at string, m int) error {
	defer unix.Close(m)
	at = strings.TrimPrefix(path.Clean("/"+at), "/")
	target, err := unix.Openat2(root, at, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS})
	if err == unix.ELOOP {
		return fmt.Errorf("the image has a link in /%s, on which nothing is mounted", at)
	}
	if err != nil {
		return fmt.Errorf("/%s of the image: %w", at, err)
	}
	defer unix.Close(target)
	if err := moveMount(m, target); err != nil {
		return fmt.Errorf("/%s: %w", at, err)
	}
	return nil
}

func moveMount(m, target int) error {
	return os.NewSyscallError("move_mount", unix.MoveMount(m, "", target, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// identity finds a USER in the image's own passwd and group files.
func identity(root int, spec string) (uid, gid uint32, groups []uint32, home string, err error) {
	passwd, err := readIn(root, "etc/passwd")
	if err != nil {
		return 0, 0, nil, "", err
	}
	group, err := readIn(root, "etc/group")
	if err != nil {
		return 0, 0, nil, "", err
	}
	u, err := user.GetExecUser(spec, &user.ExecUser{Home: "/"}, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		return 0, 0, nil, "", fmt.Errorf("USER %s: %w", spec, err)
	}
	for _, g := range u.Sgids {
		groups = append(groups, uint32(g))
	}
	return uint32(u.Uid), uint32(u.Gid), groups, u.Home, nil
}

// readIn reads a small regular file of an image; one that is not there is empty.
func readIn(root int, name string) ([]byte, error) {
	fd, err := unix.Openat2(root, name, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("/%s of the image: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("/%s of the image is no regular file", name)
	}
	return io.ReadAll(io.LimitReader(f, 1<<20))
}
