package gonso

import (
	"errors"
	"io/fs"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
)

// kernelVersion is the version of the running kernel. It says nothing about features that vendors
// have added to their kernels.
var kernelVersion = sync.OnceValue(func() (v version) {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return version{}
	}
	return parseVersion(unix.ByteSliceToString(u.Release[:]))
})

// typesOfKernel are the types that the kernel lists for the calling thread, 0 if they are not
// known.
func typesOfKernel() (has Type) {
	names, err := procfs.Names("thread-self/ns")
	if err != nil {
		return 0
	}
	return typesNamed(names)
}

// typesNamed are the types whose names are in a listing.
func typesNamed(names []string) (has Type) {
	AllTypes.each(func(i int, t Type) {
		if slices.Contains(names, typeTable[i].name) {
			has |= t
		}
	})
	return has
}

// withMissingType says so if a file of /proc/PID/ns is missing because the kernel does not have that
// type.
func withMissingType(e *Error) *Error {
	if has := typesOfKernel(); errors.Is(e.Err, fs.ErrNotExist) && has != 0 && has&e.Type == 0 {
		e.Err, e.Hint = missingTypeError{e.Err}, sayMissing(e.Type)
	}
	return e
}
