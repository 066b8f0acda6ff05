package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Strings with their length before them: errors and messages consist of them.

// AppendString appends s to b.
func AppendString[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// CutString removes a string from the front of b, where AppendString has put it. The string is not
// copied.
func CutString(b []byte, limit int) (s, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, errors.New("string cut short")
	}
	if n > uint64(limit) {
		return nil, nil, fmt.Errorf("string of %d bytes where %d are allowed", n, limit)
	}
	end := used + int(n)
	return b[used:end:end], b[end:], nil
}
