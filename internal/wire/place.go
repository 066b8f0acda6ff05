package wire

import "encoding/binary"

// Place is what a call wants to be different about where it runs.
type Place struct {
	Root     bool   // the last of the request's files is the root directory
	Dir      string // working directory, or ""
	HasUmask bool
	Umask    uint32
	Whole    bool // of the whole process, not just of the call's thread
}

// MaxDir is PATH_MAX, what the kernel takes of a path.
const MaxDir = 4096

const (
	placeRoot = 1 << iota
	placeDir
	placeUmask
	placeWhole

	placeAll = 1<<iota - 1
)

func (p *Place) append(b []byte) []byte {
	at := len(b)
	b = append(b, 0)
	if p.Root {
		b[at] |= placeRoot
	}
	if p.Whole {
		b[at] |= placeWhole
	}
	if p.Dir != "" {
		b[at] |= placeDir
		b = appendString(b, p.Dir)
	}
	if p.HasUmask {
		b[at] |= placeUmask
		b = binary.LittleEndian.AppendUint32(b, p.Umask)
	}
	return b
}

func cutPlace(b []byte) (p Place, rest []byte, err error) {
	if len(b) == 0 || b[0]&^placeAll != 0 {
		return p, nil, violation("place cut short or unknown")
	}
	has := b[0]
	b = b[1:]
	p.Root, p.Whole = has&placeRoot != 0, has&placeWhole != 0
	if has&placeDir != 0 {
		var dir []byte
		if dir, b, err = cutString(b, MaxDir); err != nil {
			return p, nil, err
		}
		p.Dir = string(dir)
	}
	if has&placeUmask != 0 {
		if len(b) < 4 {
			return p, nil, violation("umask cut short")
		}
		p.HasUmask, p.Umask = true, binary.LittleEndian.Uint32(b)
		b = b[4:]
	}
	return p, b, nil
}
