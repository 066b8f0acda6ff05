package gonso

import (
	"errors"
	"strings"
	"syscall"
	"testing"
)

// A limit of this process's, or of the machine's, holds in each directory: none that TMPDIR could name is of use.
func TestLimitOfFilesCannotBeLiftedByADirectory(t *testing.T) {
	const remedy = "let TMPDIR name"
	for name, c := range map[string]struct {
		memfd, unnamed syscall.Errno
		want           string
		elsewhere      bool
	}{
		"open files":            {syscall.EMFILE, syscall.EMFILE, "its RLIMIT_NOFILE allows, 7 (ulimit -n)", false},
		"size":                  {syscall.EFBIG, syscall.EFBIG, "RLIMIT_FSIZE of this process allows files of at most 9 bytes (ulimit -f)", false},
		"size, without a memfd": {syscall.ENOSYS, syscall.EFBIG, "RLIMIT_FSIZE of this process", false},
		"files of the machine":  {syscall.ENFILE, syscall.ENFILE, "fs.file-max", false},
		"a full disk":           {syscall.ENOSYS, syscall.ENOSPC, remedy, true},
		"a forbidden memfd":     {syscall.EACCES, syscall.EROFS, remedy, true},
	} {
		got := sayNoFile(&fileEvidence{memfd: c.memfd, err: errors.Join(c.memfd, c.unnamed), openFiles: 7, fileSize: 9})
		if !strings.Contains(got, c.want) || strings.Contains(got, remedy) != c.elsewhere {
			t.Errorf("%s: %q, want %q in it, and a directory to be named: %v", name, got, c.want, c.elsewhere)
		}
	}
}
