//go:build linux

package gonso_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// pivotRoot makes dir the root of the calling thread's mount namespace, which must not be the
// host's, and takes all else out of it. No place for the old root is needed in dir: it comes to lie
// on the new one, and is unmounted there (pivot_root(2)). The mounts must not be shared; those of a
// Set that Unshare made are slaves.
func pivotRoot(dir string) error {
	if err := unix.Mount(dir, dir, "", unix.MS_BIND|unix.MS_REC, ""); err != nil { // it has to be a mount
		return os.NewSyscallError("mount", err)
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return os.NewSyscallError("pivot_root", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return os.NewSyscallError("umount", err)
	}
	return os.Chdir("/")
}

// atRoot lists what is in the root directory.
func atRoot() (names []string, err error) {
	entries, err := os.ReadDir("/")
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// breakOut is how root leaves a chroot: by a directory that is above the new one.
func breakOut() error {
	above, err := os.Open("/")
	if err != nil {
		return err
	}
	defer above.Close()
	err = errors.Join(unix.Chroot("/etc"), above.Chdir())
	for range 64 {
		err = errors.Join(err, unix.Chdir(".."))
	}
	return errors.Join(err, unix.Chroot("."))
}

// rootFS makes a directory as it could be unpacked from an image.
func rootFS() (string, error) {
	dir, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		return "", err
	}
	return dir, errors.Join(os.Mkdir(filepath.Join(dir, "etc"), 0o755), os.Mkdir(filepath.Join(dir, "in-the-image"), 0o755))
}

var (
	pivotInside  = gonso.Register("example.pivot", func(_ context.Context, dir string) (struct{}, error) { return struct{}{}, pivotRoot(dir) })
	atRootInside = gonso.Register("example.atRoot", func(_ context.Context, breaksOut bool) ([]string, error) {
		if breaksOut {
			if err := breakOut(); err != nil {
				return nil, err
			}
		}
		return atRoot()
	})
)

// A plain user's program does the same as root of a user namespace of its own, in registered
// functions.
func Example_pivotRootRootless() {
	gonso.Init() // first in main

	dir, err := rootFS()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := gonso.Unshare(gonso.User | gonso.Mount)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	ctx := context.Background()
	if _, err := pivotInside.Do(ctx, s, dir); err != nil {
		fmt.Println(err)
		return
	}
	names, err := atRootInside.Do(ctx, s, false)
	fmt.Println("the root:", names, err)
	names, err = atRootInside.Do(ctx, s, true, gonso.Isolated()) // another process
	fmt.Println("after breaking out:", names, err)
	// Output:
	// the root: [etc in-the-image] <nil>
	// after breaking out: [etc in-the-image] <nil>
}
