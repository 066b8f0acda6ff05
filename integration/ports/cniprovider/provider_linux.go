// Package cniprovider is what BuildKit's provider of the same name has of namespaces, on gonso: net
// namespaces for containers, kept below the state directory. createns_linux.go is the port, and
// this file is what that finds in BuildKit.
package cniprovider

import "errors"

// plugins is what is used here of github.com/containerd/go-cni.
type plugins interface {
	Remove(id, path string) error
}

type cniProvider struct {
	CNI  plugins
	root string
}

type cniNS struct {
	id, nativeID string
	handle       plugins
}

func (n *cniNS) release() error {
	return errors.Join(n.handle.Remove(n.id, n.nativeID), unmountNetNS(n.nativeID), deleteNetNS(n.nativeID))
}
