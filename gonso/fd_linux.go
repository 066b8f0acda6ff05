package gonso

import "os"

// onFD runs do with the descriptor of f, which cannot be closed meanwhile. Fd would
// make it block.
func onFD(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) { err = do(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}
