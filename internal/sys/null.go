package sys

import (
	"errors"
	"os"
)

// Null opens /dev/null. If it is missing, as in a chroot, Null returns the end of a pipe whose
// other end is closed: nothing can be read from it.
func Null() (*os.File, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err == nil {
		return null, nil
	}
	r, w, perr := os.Pipe()
	if perr != nil {
		return nil, errors.Join(err, perr)
	}
	w.Close()
	return r, nil
}
