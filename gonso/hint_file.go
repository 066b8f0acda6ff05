package gonso

import (
	"fmt"
	"syscall"
)

// fileEvidence says whether there can be a file to execute a launcher from.
type fileEvidence struct {
	memfd   error // why no memfd could be used
	err     error // that, and why no unnamed file could be used
	noexec  int64 // vm.memfd_noexec, or 0
	seccomp bool

	openFiles, fileSize uint64 // RLIMIT_NOFILE and RLIMIT_FSIZE of this process
}

// full names a limit that any file would be beyond, wherever it is, or is "".
func (ev *fileEvidence) full() string {
	return explain([]rule{
		{
			matches: func(r *refusal) bool { return r.is(syscall.EMFILE) },
			proven:  true,
			text:    fmt.Sprintf("this process has as many files open as its RLIMIT_NOFILE allows, %d (ulimit -n)", ev.openFiles),
		}, {
			matches: func(r *refusal) bool { return r.is(syscall.EFBIG) },
			proven:  true,
			text:    fmt.Sprintf("RLIMIT_FSIZE of this process allows files of at most %d bytes (ulimit -f), and this one has more", ev.fileSize),
		}, {
			matches: func(r *refusal) bool { return r.is(syscall.ENFILE) },
			proven:  true,
			text:    "the machine has as many files open as the sysctl fs.file-max allows",
		},
	}, &refusal{err: ev.err})
}

// sayNoFile says why there is no file for a launcher. The error names the directories.
func sayNoFile(ev *fileEvidence) string {
	const other = "let TMPDIR name a directory that files can be made in, and executed from"
	if full := ev.full(); full != "" {
		return full
	}
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
