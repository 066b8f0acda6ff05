package gonso

import (
	"fmt"
	"syscall"
)

// fileEvidence says whether there can be a file to execute a launcher from.
type fileEvidence struct {
	memfd   error // why no memfd could be used
	noexec  int64 // vm.memfd_noexec, or 0
	seccomp bool
}

// sayNoFile says why there is no file for a launcher. The error names the directories.
func sayNoFile(ev *fileEvidence) string {
	const other = "let TMPDIR name a directory that files can be made in, and executed from"
	forbids := explain([]rule{
		{
			matches: func(r *refusal) bool { return r.is(syscall.EACCES) && ev.noexec == 2 },
			proven:  true,
			text:    "the sysctl vm.memfd_noexec of this pid namespace is 2, so that no memfd can be executed: set it to 1",
		}, {
			matches: func(r *refusal) bool { return r.is(syscall.ENOSYS) && ev.seccomp },
			proven:  true,
			text:    fmt.Sprintf(seccompForbids, "memfd_create"),
		}, {
			matches: func(r *refusal) bool { return r.is(syscall.EPERM) && ev.seccomp },
			text:    seccompIsActive,
		}, {
			matches: func(r *refusal) bool { return r.is(syscall.EACCES) || r.is(syscall.EPERM) && !ev.seccomp },
			text:    "a security module forbids memfds that can be executed",
		},
	}, &refusal{err: ev.memfd})
	if forbids == "" {
		return other
	}
	return forbids + "; or " + other
}
