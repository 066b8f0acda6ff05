package reexec

import (
	"encoding/binary"
	"errors"
	"io"
)

// elfInfo is what a launch wants to know of an executable. It is read by hand, as
// package debug/elf would be most of what a program has of gonso.
type elfInfo struct {
	machine uint16
	interp  bool // it names a loader, to be found in the mount namespace: it is dynamically linked
}

var errNotELF = errors.New("it is not an executable of this system (ELF, 64 bits)")

// readELF reads the headers of an executable of 64 bits, little-endian, as all
// are that have a launcher; see elf(5).
func readELF(r io.ReaderAt) (*elfInfo, error) {
	const (
		headerSize, entrySize  = 64, 56
		ptInterp               = 3
		maxEntries             = 1 << 12
		class64, littleEndian  = 2, 1
		atType, atMachine      = 16, 18
		atOffset, atSize, atNo = 32, 54, 56
	)
	le := binary.LittleEndian
	h := make([]byte, headerSize)
	if _, err := r.ReadAt(h, 0); errors.Is(err, io.EOF) {
		return nil, errNotELF
	} else if err != nil {
		return nil, err
	}
	typ := le.Uint16(h[atType:])
	if string(h[:4]) != "\x7fELF" || h[4] != class64 || h[5] != littleEndian || typ != 2 && typ != 3 {
		return nil, errNotELF
	}
	e := &elfInfo{machine: le.Uint16(h[atMachine:])}
	n := int(le.Uint16(h[atNo:]))
	if le.Uint16(h[atSize:]) != entrySize || n > maxEntries {
		return nil, errNotELF
	}
	table := make([]byte, n*entrySize)
	if _, err := r.ReadAt(table, int64(le.Uint64(h[atOffset:])&(1<<62-1))); errors.Is(err, io.EOF) {
		return nil, errNotELF
	} else if err != nil {
		return nil, err
	}
	for ; len(table) > 0; table = table[entrySize:] {
		if le.Uint32(table) == ptInterp {
			e.interp = true
		}
	}
	return e, nil
}
