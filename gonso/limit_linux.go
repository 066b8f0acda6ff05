package gonso

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
	"github.com/gonso/gonso/reexec"
)

// limitError is the error if the kernel has refused one of the Rlimits of a [Worker] or a [Cmd].
func limitError(op string, le *reexec.LaunchError) *Error {
	r := le.Limit
	e := newError(op, 0, "", fmt.Errorf("%s: %s of %d, at most %d: %w", le.Option, sys.LimitNames[r.Resource], r.Soft, r.Hard, le.Err))
	if le.Err != unix.EPERM {
		return e
	}
	if most, ok := sysctl("fs/nr_open"); ok && r.Resource == unix.RLIMIT_NOFILE && r.Hard > uint64(most) {
		return e.withHint(fmt.Sprintf("the sysctl fs.nr_open allows nobody more than %d", most))
	}
	var now unix.Rlimit
	caps, err := sys.ThreadCaps()
	if err == nil && !caps.Effective.Has(unix.CAP_SYS_RESOURCE) && unix.Prlimit(0, r.Resource, nil, &now) == nil && r.Hard > now.Max {
		return e.withHint(fmt.Sprintf("the hard limit of this process is %d, and raising it takes CAP_SYS_RESOURCE in the user namespace of the host", now.Max))
	}
	return e
}
