//go:build !linux

package sys

import (
	"errors"
	"os"
)

// DupFile is for Linux.
func DupFile(*os.File) (*os.File, error) { return nil, errors.ErrUnsupported }
