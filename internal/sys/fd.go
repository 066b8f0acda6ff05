package sys

import "os"

// CloseFiles closes files. It skips nil files.
func CloseFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// OnFD runs do with the descriptor of f, which nobody can close meanwhile. File.Fd would not see to
// that, and makes a file block. The error for a closed file matches os.ErrClosed.
func OnFD(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if raw.Control(func(fd uintptr) { err = do(int(fd)) }) != nil {
		return os.ErrClosed // Control's own error has no name outside of package os
	}
	return err
}

// IsStandard reports whether f is a standard stream of this process, which the whole process uses.
func IsStandard(f *os.File) bool {
	low := false
	_ = OnFD(f, func(fd int) error { // a closed file is none
		low = fd <= 2
		return nil
	})
	return low || f == os.Stdin || f == os.Stdout || f == os.Stderr
}
