// Package testutils is what pkg/testutils of the CNI plugins has of namespaces, on gonso: ones that
// are kept at a path until they are unmounted.
package testutils

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/integration/ports/cni/ns"
)

// runDir is where ip-netns(8) has its namespaces, or a directory of the user's own if that is not
// theirs.
func runDir() string {
	if own := os.Getenv("XDG_RUNTIME_DIR"); own != "" {
		if fi, err := os.Stat("/var/run"); err == nil && int(fi.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
			return filepath.Join(own, "netns")
		}
	}
	return "/var/run/netns"
}

// shared has what is mounted in dir appear in the mnt namespaces that have dir as well.
func shared(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // nothing is mounted there yet
		if err = unix.Mount(dir, dir, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if err != nil {
		return fmt.Errorf("%s: to be made a shared mount: %w", dir, err)
	}
	return nil
}

// NewNS makes a net namespace that lasts until UnmountNS.
func NewNS() (ns.NetNS, error) {
	dir := runDir()
	if err := shared(dir); err != nil {
		return nil, err
	}
	s, err := gonso.Unshare(gonso.Net)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	path := filepath.Join(dir, "cnitest-"+rand.Text())
	if err := s.PinNS(gonso.Net, path); err != nil {
		return nil, err
	}
	return ns.GetNS(path)
}

// UnmountNS ends what NewNS has made, and leaves namespaces of others alone.
func UnmountNS(n ns.NetNS) error {
	if !strings.HasPrefix(n.Path(), runDir()+"/") {
		return nil
	}
	return gonso.Unpin(n.Path())
}
