//go:build linux

package gonso_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

var giveAway = gonso.Register("example.giveAway", func(ctx context.Context, dir string) (uint32, error) {
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		return 0, err
	}
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		return 0, err
	}
	if err := os.Chown(dir+"/file", 1000, 1000); err != nil {
		return 0, err
	}
	var st unix.Stat_t
	err := unix.Stat(dir+"/file", &st)
	return st.Uid, err
})

// With subordinate ids a plain user can have files of several users inside, as
// what is unpacked from a container image has.
func ExampleSubIDs() {
	gonso.Init() // first in main

	s, err := gonso.Unshare(gonso.User|gonso.Mount, gonso.SubIDs())
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, gonso.ErrNoSubIDs) {
		// A program can go on here without SubIDs, with its own id as the only one.
		fmt.Println("no subordinate ids:", err)
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(dir)
	uid, err := giveAway.Do(context.Background(), s, dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("the file belongs to", uid)
	// Output: the file belongs to 1000
}
