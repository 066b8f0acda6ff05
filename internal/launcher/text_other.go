//go:build linux && !386 && !amd64 && !arm && !arm64 && !loong64 && !mips64le && !ppc64le && !riscv64 && !s390x

package launcher

import "unsafe"

func textStart() unsafe.Pointer { return nil }
