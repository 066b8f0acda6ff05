package codec

import (
	"errors"
	"fmt"
)

// Caps of a value. Whoever encodes and whoever decodes checks them.
const (
	MaxValue = 64 << 20 // bytes of one encoded argument or result
	MaxFiles = 250      // files in it; they all go with one message, for which the kernel's limit is 253 (SCM_MAX_FD)
)

// ErrTooLarge is matched by every [SizeError].
var ErrTooLarge = errors.New("too large")

// A SizeError tells what exceeded which cap. It matches [ErrTooLarge].
type SizeError struct {
	What string // "value", "payload", "name", ...
	Size int64  // what it would have been; a lower bound if it was not encoded to its end
	Max  int64
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s of %d exceeds the limit of %d", e.What, e.Size, e.Max)
}

// Is makes every SizeError match ErrTooLarge.
func (e *SizeError) Is(target error) bool { return target == ErrTooLarge }
