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
