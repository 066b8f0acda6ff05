package reexec

import (
	"encoding/binary"
	"errors"
	"io"
)

// elfInfo has the facts about an executable that a launch needs. They are read by hand: package
// debug/elf would be larger than the rest of gonso in a program.
type elfInfo struct {
	machine uint16
	interp  bool // it names a loader, which must be in the mount namespace: it is dynamically linked

	loaderAt, loaderSize int64 // where the loader's path is in the file
}

// byteOrder is the byte order field of an executable that has this processor's byte order.
var byteOrder = binary.NativeEndian.AppendUint16(nil, 1)[1] + 1 // 1 little endian, 2 big endian

var errNotELF = errors.New("it is not an executable of this system (ELF, in the byte order of this processor)")

// elfClass has the places of the needed fields in the headers of a class; see elf(5).
type elfClass struct {
	headerSize, entrySize       int
	atOffset, atSize, atEntries int
	entryOffset, entryFileSize  int // in an entry, where its content begins and how long it is
	offset                      func(b []byte) uint64
}

var elfClasses = map[byte]elfClass{
	1: {52, 32, 28, 42, 44, 4, 16, func(b []byte) uint64 { return uint64(binary.NativeEndian.Uint32(b)) }},
	2: {64, 56, 32, 54, 56, 8, 32, binary.NativeEndian.Uint64},
}

// readELF reads the headers of an executable. It knows headers of 32 bits, too: a processor of 64
// bits may execute such programs.
func readELF(r io.ReaderAt) (*elfInfo, error) {
	const (
		ptInterp          = 3
		maxEntries        = 1 << 12
		atType, atMachine = 16, 18
	)
	read := func(n int, at int64) ([]byte, error) {
		b := make([]byte, n)
		_, err := r.ReadAt(b, at)
		if errors.Is(err, io.EOF) {
			err = errNotELF
		}
		return b, err
	}
	h, err := read(atMachine+2, 0)
	if err != nil {
		return nil, err
	}
	class, known := elfClasses[h[4]]
	typ := binary.NativeEndian.Uint16(h[atType:])
	if string(h[:4]) != "\x7fELF" || !known || h[5] != byteOrder || typ != 2 && typ != 3 {
		return nil, errNotELF
	}
	if h, err = read(class.headerSize, 0); err != nil {
		return nil, err
	}
	e := &elfInfo{machine: binary.NativeEndian.Uint16(h[atMachine:])}
	n := int(binary.NativeEndian.Uint16(h[class.atEntries:]))
	if int(binary.NativeEndian.Uint16(h[class.atSize:])) != class.entrySize || n > maxEntries {
		return nil, errNotELF
	}
	table, err := read(n*class.entrySize, int64(class.offset(h[class.atOffset:])&(1<<62-1)))
	if err != nil {
		return nil, err
	}
	for ; len(table) > 0; table = table[class.entrySize:] {
		if binary.NativeEndian.Uint32(table) == ptInterp {
			e.interp = true
			e.loaderAt = int64(class.offset(table[class.entryOffset:]) & (1<<62 - 1))
			e.loaderSize = int64(class.offset(table[class.entryFileSize:]) & (1<<62 - 1))
		}
	}
	return e, nil
}
