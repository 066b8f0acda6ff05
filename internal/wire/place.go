package wire

import (
	"encoding/binary"
	"os"

	"github.com/gonso/gonso/internal/codec"
)

// MaxDir is PATH_MAX, the longest path that the kernel accepts.
const MaxDir = 4096

// The encoding of a Place: flags, and after them the values of placeDir and placeUmask, in this
// order.
const (
	placeRoot = 1 << iota // the last of the frame's files
	placeDir
	placeUmask
	placeWhole
	placeEndThread
	placeTheirs
	placeDirFile // before the root

	placeAll = 1<<iota - 1
)

func (r *Request) appendPlace(b []byte) []byte {
	p, at := &r.Place, len(b)
	b = append(b, 0)
	for i, set := range [...]bool{p.Root != nil, p.Dir != "", p.HasUmask, p.Whole, r.EndThread, p.Theirs, p.DirFile != nil} {
		if set {
			b[at] |= 1 << i
		}
	}
	if p.Dir != "" {
		b = codec.AppendString(b, p.Dir)
	}
	if p.HasUmask {
		b = binary.LittleEndian.AppendUint32(b, p.Umask)
	}
	return b
}

// cutPlace removes a Place from the front of b, where appendPlace has put it, and its directories
// from the end of the files.
func (r *Request) cutPlace(b []byte) (rest []byte, err error) {
	if len(b) == 0 || b[0]&^placeAll != 0 {
		return nil, violation("place cut short or unknown")
	}
	has, p := b[0], &r.Place
	b = b[1:]
	p.Whole, r.EndThread, p.Theirs = has&placeWhole != 0, has&placeEndThread != 0, has&placeTheirs != 0
	for _, dir := range []struct {
		has bool
		of  **os.File
	}{{has&placeRoot != 0, &p.Root}, {has&placeDirFile != 0, &p.DirFile}} {
		if !dir.has {
			continue
		}
		last := len(r.Value.Files) - 1
		if last < 0 {
			return nil, violation("a directory without its descriptor")
		}
		*dir.of, r.Value.Files = r.Value.Files[last], r.Value.Files[:last]
	}
	if has&placeDir != 0 {
		var dir []byte
		if dir, b, err = cutString(b, MaxDir); err != nil {
			return nil, err
		}
		p.Dir = string(dir)
	}
	if has&placeUmask != 0 {
		if len(b) < 4 {
			return nil, violation("umask cut short")
		}
		p.HasUmask, p.Umask = true, binary.LittleEndian.Uint32(b)
		b = b[4:]
	}
	return b, nil
}
