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

// Pinned namespaces outlive the Set, and the program: this one, or another, gets
// them back with FromDir. "nsenter --net=DIR/net" finds them too. It needs
// CAP_SYS_ADMIN.
func ExampleSet_Pin() {
	s, err := gonso.Unshare(gonso.Net | gonso.UTS)
	if err != nil {
		cannot("root", err, "[net uts]\nthe same: true")
		return
	}
	before := s.String()

	tmp, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(tmp)
	dir := filepath.Join(tmp, "blue")
	if err := s.Pin(dir); err != nil {
		fmt.Println(err)
		return
	}
	s.Close()

	files, _ := filepath.Glob(dir + "/*")
	for i := range files {
		files[i] = filepath.Base(files[i])
	}
	fmt.Println(files)

	again, err := gonso.FromDir(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer again.Close()
	fmt.Println("the same:", again.String() == before)

	if err := gonso.Unpin(dir); err != nil {
		fmt.Println(err)
	}
	// Output:
	// [net uts]
	// the same: true
}

// The user namespace that owns a net namespace says who may configure it: its
// root, here by the name of the user who made it.
func ExampleSet_Owner() {
	s, err := gonso.Unshare(gonso.User | gonso.Net)
	if err != nil {
		cannot("userns", err, "root inside is this user: true\nmade by this user: true\nabove: operation not permitted")
		return
	}
	defer s.Close()

	owner, err := s.Owner(gonso.Net)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer owner.Close()

	uids, _, err := owner.IDMaps()
	if err != nil {
		fmt.Println(err)
		return
	}
	me := uint32(os.Geteuid())
	fmt.Println("root inside is this user:", len(uids) == 1 && uids[0] == gonso.IDMap{ContainerID: 0, HostID: me, Size: 1})

	maker, err := owner.OwnerUID()
	fmt.Println("made by this user:", maker == me && err == nil)

	// What is above this process's own user namespace cannot be seen.
	home, err := gonso.Current(gonso.User)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer home.Close()
	if _, err = home.Parent(gonso.User); errors.Is(err, unix.EPERM) {
		fmt.Println("above:", unix.EPERM)
	}
	// Output:
	// root inside is this user: true
	// made by this user: true
	// above: operation not permitted
}

// Names that are those of no types, as in /run/netns, do not matter.
func ExampleFromDir() {
	dir, err := os.MkdirTemp("", "gonso-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	// As ip-netns(8) leaves them in /run/netns.
	if err := os.Symlink("/proc/self/ns/net", filepath.Join(dir, "blue")); err != nil {
		fmt.Println(err)
		return
	}

	s, err := gonso.FromDir(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	fmt.Println(s.Types())
	// Output: net
}
