//go:build linux

package gonso_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// copyUp makes a directory that belongs to the host's root one that can be changed, in the mount
// namespace of the calling thread alone: a tmpfs with a link to each file that was there. What was
// there goes to .ro below.
func copyUp(dir string) error {
	// With all that is mounted below it: a part of those mounts may not be shown without the others.
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(tree)
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		return os.NewSyscallError("mount", err)
	}
	below := filepath.Join(dir, ".ro")
	if err := os.Mkdir(below, 0o755); err != nil {
		return err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, below, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	entries, err := os.ReadDir(below)
	if err != nil {
		return err
	}
	for _, e := range entries {
		to := filepath.Join(".ro", e.Name())
		if e.Type()&fs.ModeSymlink != 0 { // a relative one means something else from .ro
			if to, err = os.Readlink(filepath.Join(below, e.Name())); err != nil {
				return err
			}
		}
		if err := os.Symlink(to, filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

const nameserver = "nameserver 10.0.2.3\n"

// setUp is what a rootless launcher does inside, before it starts anything else: an /etc of its
// own, and a net namespace that has a name but that nobody is in.
var setUp = gonso.Register("example.setUp", func(_ context.Context, state string) (struct{}, error) {
	if err := errors.Join(copyUp("/etc"), copyUp(state)); err != nil {
		return struct{}{}, err
	}
	const resolv = "/etc/resolv.conf"
	if err := os.Remove(resolv); err != nil && !errors.Is(err, fs.ErrNotExist) { // a link by now
		return struct{}{}, err
	}
	if err := os.WriteFile(resolv, []byte(nameserver), 0o644); err != nil {
		return struct{}{}, err
	}
	n, err := gonso.Unshare(gonso.Net, gonso.LoopbackUp())
	if err != nil {
		return struct{}{}, err
	}
	defer n.Close()
	return struct{}{}, n.PinNS(gonso.Net, filepath.Join(state, "netns"))
})

var netInside = gonso.Register("example.netInside", func(context.Context, struct{}) (string, error) {
	return os.Readlink("/proc/self/ns/net")
})

// What rootlesskit calls copy-up and a detached network namespace: a daemon runs as root of a user
// namespace, with an /etc that it may change and the network of the host, and has a net namespace
// at hand for what it starts.
func Example_rootless() {
	gonso.Init() // first in main

	ctx := context.Background()
	before, _ := os.ReadFile("/etc/resolv.conf")
	passwd, _ := os.ReadFile("/etc/passwd")
	host, _ := os.Readlink("/proc/self/ns/net")
	state, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(state)

	s, err := gonso.Unshare(gonso.User | gonso.Mount)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	if _, err := setUp.Do(ctx, s, state); err != nil {
		fmt.Println(err)
		return
	}

	out, err := s.Command(ctx, "cat", "/etc/resolv.conf").Output()
	if err != nil {
		fmt.Println(err)
	}
	fmt.Print("/etc/resolv.conf inside: ", string(out))
	out, err = s.Command(ctx, "cat", "/etc/passwd").Output()
	fmt.Println("its links lead on:", bytes.Equal(out, passwd) && err == nil)
	after, _ := os.ReadFile("/etc/resolv.conf")
	fmt.Println("outside it is unchanged:", bytes.Equal(before, after))
	at, err := netInside.Do(ctx, s, struct{}{})
	fmt.Println("the daemon has the host's network:", at == host && err == nil)

	// The name is in the Set's mount namespace alone.
	f, err := s.OpenFile(ctx, filepath.Join(state, "netns"), os.O_RDONLY, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer f.Close()
	n, err := gonso.FromFiles(f)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer n.Close()
	detached, err := s.With(n)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer detached.Close()
	ifs, err := detached.Interfaces(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, i := range ifs {
		if i.Name == "lo" { // kernels with modules for tunnels have their devices, too
			fmt.Println("detached:", i.Name, i.Addrs)
		}
	}
	// Output:
	// /etc/resolv.conf inside: nameserver 10.0.2.3
	// its links lead on: true
	// outside it is unchanged: true
	// the daemon has the host's network: true
	// detached: lo [127.0.0.1/8 ::1/128]
}
