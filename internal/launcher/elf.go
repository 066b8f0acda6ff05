//go:build linux

package launcher

import (
	"encoding/binary"
	"runtime"
)

// architecture has the fields of an executable's header that say where it runs.
type architecture struct {
	name    string // as GOARCH
	machine uint16
	bits    int
	order   binary.AppendByteOrder
	flags   uint32 // that the kernel requires of a program
}

// architectures are the architectures that have a launcher. The flags are those that Go's own
// linker sets.
var architectures = []architecture{
	{name: "386", machine: 3, bits: 32, order: binary.LittleEndian},
	{name: "amd64", machine: 62, bits: 64, order: binary.LittleEndian},
	{name: "arm", machine: 40, bits: 32, order: binary.LittleEndian, flags: 0x5000002}, // EABI version 5
	{name: "arm64", machine: 183, bits: 64, order: binary.LittleEndian},
	{name: "loong64", machine: 258, bits: 64, order: binary.LittleEndian, flags: 0x43},      // double floats, object ABI 1
	{name: "mips64le", machine: 8, bits: 64, order: binary.LittleEndian, flags: 0x20000004}, // MIPS III
	{name: "ppc64le", machine: 21, bits: 64, order: binary.LittleEndian, flags: 2},          // ABI version 2: the entry is no descriptor
	{name: "riscv64", machine: 243, bits: 64, order: binary.LittleEndian, flags: 4},         // double floats
	{name: "s390x", machine: 22, bits: 64, order: binary.BigEndian},
}

// thisArchitecture has machine 0 if it is not one of them.
func thisArchitecture() architecture {
	for _, a := range architectures {
		if a.name == runtime.GOARCH {
			return a
		}
	}
	return architecture{}
}

// Machine returns the ELF machine number of this architecture, or 0 if it has no launcher.
func Machine() uint16 { return thisArchitecture().machine }

// Sizes of the headers in a file, see elf(5).
func (a architecture) headerSize() int  { return a.size(52, 64) }
func (a architecture) segmentSize() int { return a.size(32, 56) }

func (a architecture) size(of32, of64 int) int {
	if a.bits == 32 {
		return of32
	}
	return of64
}

// segment is one entry of the program header table.
type segment struct{ kind, flags, offset, address, fileSize, memorySize, align uint64 }

// elfImage returns an executable of text, which runs at textBase behind the headers and finds
// zeroed memory at dataBase.
func elfImage(a architecture, text []byte) []byte {
	const (
		executable = 2 // ET_EXEC: not relocatable, the list's addresses are absolute
		load       = 1 // PT_LOAD
		gnuStack   = 0x6474e551
		x, w, r    = 1, 2, 4
		version    = 1
	)
	headersSize := uint64(a.headerSize() + 3*a.segmentSize())
	size := headersSize + uint64(len(text))
	segments := []segment{
		{load, r | x, 0, textBase, size, size, pageSize},
		{load, r | w, 0, dataBase, 0, maxList, pageSize},
		{gnuStack, r | w, 0, 0, 0, 0, 16},
	}

	order := a.order.AppendUint16(nil, 1)[0] // ELFDATA2LSB is 1, and ELFDATA2MSB 2
	b := []byte{0x7f, 'E', 'L', 'F', byte(a.size(1, 2)), 2 - order, version, 15: 0}
	half := func(v ...int) {
		for _, v := range v {
			b = a.order.AppendUint16(b, uint16(v))
		}
	}
	full := func(v ...uint64) {
		for _, v := range v {
			b = a.order.AppendUint32(b, uint32(v))
		}
	}
	word := full
	if a.bits == 64 {
		word = func(v ...uint64) {
			for _, v := range v {
				b = a.order.AppendUint64(b, v)
			}
		}
	}
	half(executable, int(a.machine))
	full(version)
	word(textBase+headersSize, uint64(a.headerSize()), 0) // entry, segments, no sections
	full(uint64(a.flags))
	half(a.headerSize(), a.segmentSize(), len(segments), 0, 0, 0)
	for _, s := range segments {
		full(s.kind)
		if a.bits == 64 { // the flags are where words stay aligned
			full(s.flags)
		}
		word(s.offset, s.address, s.address, s.fileSize, s.memorySize)
		if a.bits == 32 {
			full(s.flags)
		}
		word(s.align)
	}
	return append(b, text...)
}
