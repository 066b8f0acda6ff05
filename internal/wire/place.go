package wire

import (
	"encoding/binary"
	"os"

	"github.com/gonso/gonso/internal/codec"
	"github.com/gonso/gonso/internal/sys"
)

// MaxDir is PATH_MAX, what the kernel takes of a path.
const MaxDir = 4096

// What there is of a Place, in this order.
const (
	placeRoot = 1 << iota // the last of the frame's files
	placeDir
	placeUmask
	placeWhole

	placeAll = 1<<iota - 1
)

func appendPlace(b []byte, p sys.Place) []byte {
	at := len(b)
	b = append(b, 0)
	if p.Root != nil {
		b[at] |= placeRoot
	}
	if p.Whole {
		b[at] |= placeWhole
	}
	if p.Dir != "" {
		b[at] |= placeDir
		b = codec.AppendString(b, p.Dir)
	}
	if p.HasUmask {
		b[at] |= placeUmask
		b = binary.LittleEndian.AppendUint32(b, p.Umask)
	}
	return b
}

// cutPlace takes a Place off the front of b, and its root off the end of files.
func cutPlace(b []byte, files []*os.File) (p sys.Place, rest []byte, others []*os.File, err error) {
	fail := func(what string) (sys.Place, []byte, []*os.File, error) {
		return sys.Place{}, nil, nil, violation("%s", what)
	}
	if len(b) == 0 || b[0]&^placeAll != 0 {
		return fail("place cut short or unknown")
	}
	has := b[0]
	b = b[1:]
	p.Whole = has&placeWhole != 0
	if has&placeRoot != 0 {
		last := len(files) - 1
		if last < 0 {
			return fail("a root without its descriptor")
		}
		p.Root, files = files[last], files[:last]
	}
	if has&placeDir != 0 {
		var dir []byte
		if dir, b, err = cutString(b, MaxDir); err != nil {
			return sys.Place{}, nil, nil, err
		}
		p.Dir = string(dir)
	}
	if has&placeUmask != 0 {
		if len(b) < 4 {
			return fail("umask cut short")
		}
		p.HasUmask, p.Umask = true, binary.LittleEndian.Uint32(b)
		b = b[4:]
	}
	return p, b, files, nil
}
