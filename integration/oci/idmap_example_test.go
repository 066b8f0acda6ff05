package oci_test

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/gonso/gonso/gonso"
)

// The id maps of a container's configuration are converted one by one: an IDMap has the same fields.
func Example_specsIDMaps() {
	linux := specs.Linux{UIDMappings: []specs.LinuxIDMapping{
		{ContainerID: 0, HostID: 100000, Size: 1000},
		{ContainerID: 1000, HostID: 1000, Size: 1},
	}}
	var uid []gonso.IDMap
	for _, m := range linux.UIDMappings {
		uid = append(uid, gonso.IDMap(m))
	}
	fmt.Println(uid)
	// Output: [{0 100000 1000} {1000 1000 1}]
}
