//go:build !linux

package wire

import (
	"errors"
	"os"
)

func dupFile(*os.File) (*os.File, error) { return nil, errors.ErrUnsupported }
