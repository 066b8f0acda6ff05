//go:build linux

package gonso_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

// pivotRootHere makes dir the root of the calling thread's mount namespace, which must not be the
// host's, and takes all else out of it. No place for the old root is needed in dir: it comes to lie
// on the new one, and is unmounted there (pivot_root(2)). The mounts must not be shared; those of a
// Set that Unshare made are slaves.
func pivotRootHere(dir string) error {
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

// namesAtRoot lists what is in the root directory.
func namesAtRoot() (names []string, err error) {
	entries, err := os.ReadDir("/")
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// leaveChroot is how root leaves a chroot: by a directory that is above the new one.
func leaveChroot() error {
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

// makeRootFS makes a directory as it could be unpacked from an image.
func makeRootFS() (string, error) {
	dir, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		return "", err
	}
	return dir, errors.Join(os.Mkdir(filepath.Join(dir, "etc"), 0o755), os.Mkdir(filepath.Join(dir, "in-the-image"), 0o755))
}

// Root gives one piece of work a root directory, by chroot(2): root in there gets out.
// pivot_root(2) changes the mount namespace itself: all that runs in the Set later begins there
// too, and the host's files are in it no more. It needs CAP_SYS_ADMIN; Example_pivotRootRootless
// needs nothing.
func Example_pivotRoot() {
	dir, err := makeRootFS()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	s, err := gonso.Unshare(gonso.Mount)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	root, err := os.Open(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer root.Close()
	err = s.Run(func() error {
		if err := leaveChroot(); err != nil {
			return err
		}
		_, err := os.Stat("/in-the-image")
		fmt.Println("a chroot holds:", err == nil)
		return nil
	}, gonso.Root(root))
	if err != nil {
		fmt.Println(err)
		return
	}

	if err := s.Run(func() error { return pivotRootHere(dir) }); err != nil {
		fmt.Println(err)
		return
	}
	// Any later work, on any thread or in any process.
	err = s.Run(func() error {
		names, err := namesAtRoot()
		fmt.Println("the root:", names, err)
		if err := leaveChroot(); err != nil {
			return err
		}
		names, err = namesAtRoot()
		fmt.Println("after breaking out:", names, err)
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// a chroot holds: false
	// the root: [etc in-the-image] <nil>
	// after breaking out: [etc in-the-image] <nil>
}
