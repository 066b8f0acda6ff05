package cniprovider

import (
	"log/slog"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gonso/gonso/gonso"
)

// cleanOldNamespaces releases, in the background, what a run before this one has left.
func cleanOldNamespaces(c *cniProvider) {
	dir := filepath.Join(c.root, "net/cni")
	entries, err := os.ReadDir(dir)
	if err != nil {
		slog.Debug("namespaces of earlier runs", "error", err)
		return
	}
	go func() {
		for _, e := range entries {
			n := cniNS{id: e.Name(), nativeID: filepath.Join(dir, e.Name()), handle: c.CNI}
			if err := n.release(); err != nil {
				slog.Warn("a namespace of an earlier run", "id", n.id, "error", err)
			}
		}
	}()
}

// unshareAndMountNetNS makes a net namespace that lasts until unmountNetNS. The calling thread
// stays where it is.
func unshareAndMountNetNS(target string) error {
	s, err := gonso.Unshare(gonso.Net)
	if err != nil {
		return err
	}
	defer s.Close()
	return s.PinNS(gonso.Net, target)
}

func createNetNS(c *cniProvider, id string) (string, error) {
	path := filepath.Join(c.root, "net/cni", id)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", err
	}
	if err := unshareAndMountNetNS(path); err != nil {
		return "", err
	}
	return path, nil
}

// setNetNS has a container of the runtime specification run in the namespace.
func setNetNS(s *specs.Spec, nsPath string) error {
	n := specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: nsPath}
	if s.Linux == nil {
		s.Linux = &specs.Linux{}
	}
	for i, other := range s.Linux.Namespaces {
		if other.Type == n.Type {
			s.Linux.Namespaces[i] = n
			return nil
		}
	}
	s.Linux.Namespaces = append(s.Linux.Namespaces, n)
	return nil
}

// unmountNetNS removes the file as well.
func unmountNetNS(nsPath string) error { return gonso.Unpin(nsPath) }

// deleteNetNS is for where unmountNetNS was not called.
func deleteNetNS(nsPath string) error { return gonso.Unpin(nsPath) }
