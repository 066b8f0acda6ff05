//go:build linux

package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// This file is what runs inside. Package-level variables, so that the worker,
// which is this program started again, has them too.
var (
	lookFunc    = gonso.Register("demo.look", func(context.Context, struct{}) (*Place, error) { return look() }, gonso.StartsGoroutines())
	overlayFunc = gonso.Register("demo.overlay", overlay, gonso.StartsGoroutines())
	hashFunc    = gonso.Register("demo.hash", hash, gonso.StartsGoroutines())
)

// Place is where work found itself.
type Place struct {
	PID, TID   int
	Namespaces map[string]string // as /proc/PID/ns shows them: "net" is "net:[4026531840]"
	Hostname   string
	Interfaces []string
}

// look may run on any thread: everything it asks is asked on that one.
func look() (*Place, error) {
	p := &Place{PID: os.Getpid(), TID: unix.Gettid()}
	var err error
	if p.Namespaces, err = namespaces("/proc/thread-self/ns"); err != nil {
		return nil, err
	}
	if p.Hostname, err = hostname(); err != nil {
		return nil, err
	}
	ifs, err := net.Interfaces()
	for _, i := range ifs {
		p.Interfaces = append(p.Interfaces, i.Name)
	}
	return p, err
}

func namespaces(dir string) (map[string]string, error) {
	m := make(map[string]string)
	for name := range strings.FieldsSeq("cgroup ipc mnt net pid time user uts") {
		id, err := os.Readlink(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a kernel without this type
		}
		if err != nil {
			return nil, err
		}
		m[name] = id
	}
	return m, nil
}

// hostname asks the kernel, not a file.
func hostname() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", os.NewSyscallError("uname", err)
	}
	return unix.ByteSliceToString(u.Nodename[:]), nil
}

// OverlayIn says what overlay is to do.
type OverlayIn struct {
	Dir      string // absolute, without symbolic links
	Scratch  string // an empty directory, for a tmpfs that is seen only inside
	Hostname string
	Change   string // a file to change, relative to Dir
	Add      string // a file to make
}

// OverlayOut is what it saw.
type OverlayOut struct {
	Place         *Place
	Tree          *Tree // before the change
	Goroutines    int   // that hashed and were where the function is
	Before, After string
}

// overlay gives the host a name, puts an overlay over a directory, hashes what
// is there, and changes it.
func overlay(ctx context.Context, in OverlayIn) (*OverlayOut, error) {
	if err := unix.Sethostname([]byte(in.Hostname)); err != nil {
		return nil, os.NewSyscallError("sethostname", err)
	}
	if err := mountOverlay(in); err != nil {
		return nil, err
	}
	out, err := hash(ctx, in.Dir)
	if err != nil {
		return nil, err
	}
	changed := filepath.Join(in.Dir, in.Change)
	if out.Before, err = hexFile(changed); err != nil {
		return nil, err
	}
	// A new file in place of the old one, in a directory that belongs to who is
	// root in here: writing to the old one would make the overlay copy it, which
	// fails if its owner is not mapped in this user namespace.
	if err := os.WriteFile(changed+".new", []byte("changed inside\n"), 0o644); err != nil {
		return nil, err
	}
	if err := os.Rename(changed+".new", changed); err != nil {
		return nil, err
	}
	if out.After, err = hexFile(changed); err != nil {
		return nil, err
	}
	return out, os.WriteFile(filepath.Join(in.Dir, in.Add), []byte("added inside\n"), 0o644)
}

func hexFile(path string) (string, error) {
	sum, _, err := hashFile(path, make([]byte, 32<<10))
	return hex.EncodeToString(sum[:]), err
}

func mountOverlay(in OverlayIn) error {
	lower, err := unix.Open(in.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: in.Dir, Err: err}
	}
	defer unix.Close(lower)
	if err := unix.Mount("tmpfs", in.Scratch, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return &fs.PathError{Op: "mount tmpfs on", Path: in.Scratch, Err: err}
	}
	upper, work := filepath.Join(in.Scratch, "upper"), filepath.Join(in.Scratch, "work")
	if err := os.MkdirAll(filepath.Join(upper, filepath.Dir(in.Change)), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	// By descriptor: in the options, colons and commas in a path mean something.
	options := fmt.Sprintf("lowerdir=/proc/self/fd/%d,upperdir=%s,workdir=%s,userxattr", lower, upper, work)
	if err := unix.Mount("overlay", in.Dir, "overlay", 0, options); err != nil {
		return fmt.Errorf("this kernel (%s) refuses an overlay in a user namespace, which works from Linux 5.11 on if the module overlay is there: %w",
			release(), &fs.PathError{Op: "mount overlay on", Path: in.Dir, Err: err})
	}
	var st unix.Statfs_t
	if err := unix.Statfs(in.Dir, &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: in.Dir, Err: err}
	}
	if st.Type != unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("%s: the overlay was mounted but does not cover it", in.Dir)
	}
	return nil
}

func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// hash hashes a directory and counts the goroutines that are where it is
// itself: that is what StartsGoroutines is for.
func hash(ctx context.Context, dir string) (*OverlayOut, error) {
	place, err := look()
	if err != nil {
		return nil, err
	}
	out := &OverlayOut{Place: place}
	var mu sync.Mutex
	out.Tree, err = hashTree(ctx, dir, func() error {
		ns, err := namespaces("/proc/thread-self/ns")
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		if slices.Equal(sortedIDs(ns), sortedIDs(place.Namespaces)) {
			out.Goroutines++
		}
		return nil
	})
	return out, err
}

func sortedIDs(ns map[string]string) []string {
	ids := make([]string, 0, len(ns))
	for _, id := range ns {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}
