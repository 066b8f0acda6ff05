package gonso

import (
	"errors"

	"github.com/gonso/gonso/internal/launcher"
)

// fileHint is for a launch that fails because there is no file to execute.
func fileHint(err error) string {
	e, ok := errors.AsType[*launcher.NoFileError](err)
	if !ok {
		return ""
	}
	ev := &fileEvidence{memfd: e.Memfd, seccomp: filtered()}
	ev.noexec, _ = sysctl("vm/memfd_noexec")
	return sayNoFile(ev)
}
