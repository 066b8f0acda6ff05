package codec

import (
	"errors"
	"fmt"
)

// Caps of a value. Both sides check them: the encoder and the decoder.
const (
	MaxValue = 64 << 20 // bytes of one encoded argument or result
	MaxFiles = 250      // files in it; one message has them all: below the kernel's SCM_MAX_FD, 253
	MaxDepth = 256      // how deep arrays, maps and structs may lie within each other

	// MaxDecoded is the memory that the decoded form of a value may take, as estimated before it is
	// decoded. A byte of input can ask for a large struct, so a cap on the input alone protects
	// nobody. Small inputs may take less: see decodedLimit.
	MaxDecoded  = 96 << 20
	baseDecoded = 32 << 20

	// decodeDepth leaves room for types whose depth is fixed: the encoder need not look at them.
	decodeDepth = MaxDepth + 64
)

// ErrTooLarge is matched by every [SizeError].
var ErrTooLarge = errors.New("too large")

// A SizeError tells what exceeded which cap. It matches [ErrTooLarge].
type SizeError struct {
	What string // "value", "payload", "name", ...
	Size int64  // the size it would have had; a lower bound if it was not encoded to its end
	Max  int64
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s of %d exceeds the limit of %d", e.What, e.Size, e.Max)
}

// Is makes every SizeError match ErrTooLarge.
func (e *SizeError) Is(target error) bool { return target == ErrTooLarge }
