package main

// port is what takes the place of some files of another project.
type port struct {
	name     string
	module   string   // of the project, with its version
	replaced []string // the project's files that are removed
	unused   []string // those that nothing but tests needs then
	without  []string // exported functions in these files that the port does not have
	files    []file   // ours
	packages []string // whose tests are run
	flags    []string // for these tests
	init     string   // the package whose tests have to call gonso.Init
}

// file is one of ours, and the project's directory that it goes to.
type file struct{ from, to string }

var ports = []port{
	{
		name:     "cni",
		module:   "github.com/containernetworking/plugins@v1.9.1",
		replaced: []string{"pkg/ns/ns_linux.go", "pkg/testutils/netns_linux.go"},
		files:    []file{{"cni/ns/ns_linux.go", "pkg/ns"}, {"cni/testutils/netns_linux.go", "pkg/testutils"}},
		packages: []string{"pkg/ns", "pkg/ip", "pkg/link", "plugins/main/loopback", "plugins/meta/bandwidth"},
	},
	{
		name:     "chrootarchive",
		module:   "github.com/moby/go-archive@v0.3.3",
		replaced: []string{"chrootarchive/archive_linux.go", "chrootarchive/chroot_linux.go"},
		unused:   []string{"internal/mounttree/switchroot_linux.go", "internal/unshare/unshare_linux.go"},
		files:    []file{{"chrootarchive/archive_linux.go", "chrootarchive"}},
		packages: []string{"chrootarchive"},
		init:     "chrootarchive",
	},
	{
		name:     "mount",
		module:   "github.com/containerd/containerd/v2@v2.4.2",
		replaced: []string{"core/mount/mount_idmapped_utils_linux.go"},
		files:    []file{{"mount/userns_linux.go", "core/mount"}},
		packages: []string{"core/mount"},
		flags:    []string{"-test.root"},
	},
	{
		name:     "cniprovider",
		module:   "github.com/moby/buildkit@v0.34.2",
		replaced: []string{"util/network/cniprovider/createns_linux.go"},
		files:    []file{{"cniprovider/createns_linux.go", "util/network/cniprovider"}},
		packages: []string{"util/network/cniprovider"},
	},
	{
		name:   "unshare",
		module: "github.com/containers/storage@v1.59.1",
		replaced: []string{"pkg/unshare/unshare_linux.go", "pkg/unshare/unshare.c", "pkg/unshare/unshare_cgo.go",
			"pkg/unshare/unshare_gccgo.go", "pkg/unshare/getenv_linux_cgo.go", "pkg/unshare/getenv_linux_nocgo.go"},
		without:  []string{"ExecRunnable", "GetSubIDMappings", "IsSetID", "ParseIDMappings"},
		files:    []file{{"unshare/unshare_linux.go", "pkg/unshare"}, {"unshare/cmd_linux.go", "pkg/unshare"}},
		packages: []string{"pkg/unshare"},
	},
}
