//go:build linux && (amd64 || arm64)

package launcher

import "unsafe"

// textStart returns the address of the launcher's code: to be read, never to be run here.
func textStart() unsafe.Pointer
