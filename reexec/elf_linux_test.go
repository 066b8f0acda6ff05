package reexec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/gonso/gonso/internal/launcher"
)

// elfOf makes the headers of an executable with segments of these types.
func elfOf(class byte, segments ...uint32) []byte {
	c := elfClasses[class]
	b := make([]byte, c.headerSize+len(segments)*c.entrySize)
	copy(b, "\x7fELF")
	b[4], b[5] = class, byteOrder
	order := binary.NativeEndian
	order.PutUint16(b[16:], 2)
	order.PutUint16(b[18:], 62)
	if class == 1 {
		order.PutUint32(b[c.atOffset:], uint32(c.headerSize))
	} else {
		order.PutUint64(b[c.atOffset:], uint64(c.headerSize))
	}
	order.PutUint16(b[c.atSize:], uint16(c.entrySize))
	order.PutUint16(b[c.atEntries:], uint16(len(segments)))
	for i, typ := range segments {
		order.PutUint32(b[c.headerSize+i*c.entrySize:], typ)
	}
	return b
}

// What the kernel would start a loader for is dynamically linked, whatever its class; what cannot be read
// in full is nothing.
func TestELF(t *testing.T) {
	for _, class := range []byte{1, 2} {
		for _, tt := range []struct {
			segments []uint32
			interp   bool
		}{{[]uint32{1, 1, 2}, false}, {[]uint32{6, 3, 1}, true}, {[]uint32{1, 1, 3}, true}} {
			b := elfOf(class, tt.segments...)
			if e, err := readELF(bytes.NewReader(b)); err != nil || e.interp != tt.interp || e.machine != 62 {
				t.Errorf("class %d, segments %v: %+v, %v", class, tt.segments, e, err)
			}
			for n := range b {
				if e, err := readELF(bytes.NewReader(b[:n])); !errors.Is(err, errNotELF) {
					t.Errorf("class %d, %d bytes of %d: %+v, %v", class, n, len(b), e, err)
				}
			}
		}
	}
	for _, b := range []string{"#!/bin/sh\n0123456789012345678901234567890123456789012345678901234567890123456789", string(make([]byte, 99))} {
		if e, err := readELF(bytes.NewReader([]byte(b))); !errors.Is(err, errNotELF) {
			t.Errorf("%q: %+v, %v", b, e, err)
		}
	}
	if e := elfOfFile(t, "/proc/self/exe"); e.machine != launcher.Machine() {
		t.Errorf("this program: %+v", e)
	}
}

func elfOfFile(t *testing.T, path string) *elfInfo {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	e, err := readELF(f)
	if err != nil {
		t.Fatal(err)
	}
	return e
}
