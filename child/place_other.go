//go:build !linux

package child

import (
	"errors"
	"os"

	"github.com/gonso/gonso/internal/wire"
)

// TakePlace is for Linux.
func TakePlace(wire.Place, *os.File) error { return errors.ErrUnsupported }
