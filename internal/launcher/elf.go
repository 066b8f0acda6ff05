//go:build linux

package launcher

import (
	"encoding/binary"
	"runtime"
	"unsafe"
)

// machines has the ELF machine numbers of the architectures that a launcher is written for, by GOARCH.
var machines = map[string]uint16{"amd64": 62, "arm64": 183}

// Machine returns the ELF machine number of this architecture, or 0 if it has no launcher.
func Machine() uint16 { return machines[runtime.GOARCH] }

type elfHeader struct {
	ident             [16]byte
	kind, machine     uint16
	version           uint32
	entry, segments   uint64
	_                 uint64 // no sections
	_                 uint32 // no flags
	size, segmentSize uint16
	segmentCount      uint16
	_                 [3]uint16 // no sections
}

type elfSegment struct {
	kind, flags                 uint32
	offset, virtual, physical   uint64
	fileSize, memorySize, align uint64
}

// elfImage returns an executable of text, which runs at textBase behind the headers and finds zeroed memory at dataBase.
func elfImage(machine uint16, text []byte) []byte {
	const (
		executable  = 2 // ET_EXEC: not relocatable, the list's addresses are absolute
		load        = 1 // PT_LOAD
		gnuStack    = 0x6474e551
		x, w, r     = 1, 2, 4
		headersSize = uint64(unsafe.Sizeof(elfHeader{}) + 3*unsafe.Sizeof(elfSegment{}))
		magic, v1   = "\x7fELF\x02\x01", 1 // 64 bits, little endian
	)
	h := elfHeader{
		kind: executable, machine: machine, version: v1,
		entry: textBase + headersSize, segments: uint64(unsafe.Sizeof(elfHeader{})),
		size: uint16(unsafe.Sizeof(elfHeader{})), segmentSize: uint16(unsafe.Sizeof(elfSegment{})), segmentCount: 3,
	}
	copy(h.ident[:], magic)
	h.ident[6] = v1
	size := headersSize + uint64(len(text))
	segments := [3]elfSegment{
		{load, r | x, 0, textBase, textBase, size, size, pageSize},
		{load, r | w, 0, dataBase, dataBase, 0, maxList, pageSize},
		{gnuStack, r | w, 0, 0, 0, 0, 0, 16},
	}
	image, _ := binary.Append(nil, binary.LittleEndian, h) // fixed-size structs cannot fail
	image, _ = binary.Append(image, binary.LittleEndian, segments)
	return append(image, text...)
}
