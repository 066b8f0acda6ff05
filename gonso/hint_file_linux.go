package gonso

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/launcher"
)

// fileHint is for a launch that fails because there is no file to execute.
func fileHint(err error) string {
	e, ok := errors.AsType[*launcher.NoFileError](err)
	if !ok {
		return ""
	}
	ev := &fileEvidence{memfd: e.Memfd, err: e, seccomp: filtered()}
	for resource, limit := range map[int]*uint64{unix.RLIMIT_NOFILE: &ev.openFiles, unix.RLIMIT_FSIZE: &ev.fileSize} {
		var r unix.Rlimit
		if unix.Prlimit(0, resource, nil, &r) == nil {
			*limit = r.Cur
		}
	}
	ev.noexec, _ = sysctl("vm/memfd_noexec")
	return sayNoFile(ev)
}
