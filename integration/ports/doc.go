// Package ports has, below it, files of other projects that are written anew on gonso: what these
// projects do with namespaces by hand, as a caller of gonso does it.
//
//	cni/ns, cni/testutils   pkg/ns and pkg/testutils of github.com/containernetworking/plugins
//	chrootarchive           chrootarchive of github.com/moby/go-archive
//	mount                   the user namespaces of core/mount of github.com/containerd/containerd
//	cniprovider             createns_linux.go of github.com/moby/buildkit
//	unshare                 pkg/unshare of github.com/containers/storage
//
// Each file takes the place of the project's own, with the same names. "make ports" puts them
// there, and runs the project's own tests before and after.
package ports
