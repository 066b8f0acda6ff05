package reexec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/launcher"
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

// check refuses early what cannot be a program like this one. Its caller has
// x.mu.
func (x *program) check() error {
	bad := func(err error) error { return &os.PathError{Op: "exec", Path: x.path, Err: err} }
	var st unix.Stat_t
	if err := unix.Fstat(int(x.file.Fd()), &st); err != nil {
		return bad(err)
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return bad(unix.EISDIR)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return bad(errors.New("it is not a regular file"))
	}
	f, err := x.read()
	if errors.Is(err, os.ErrPermission) {
		return nil // it may be executable all the same
	}
	if err != nil {
		return err
	}
	defer f.Close()
	e, err := readELF(f)
	if err != nil {
		return bad(err)
	}
	if want := launcher.Machine(); e.machine != want {
		return bad(fmt.Errorf("it is for another processor (ELF machine %d, not %d)", e.machine, want))
	}
	x.elf = e
	return nil
}

// dynamic reports whether the program needs a loader, as far as that is known.
func (x *program) dynamic() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.elf == nil && x.file != nil {
		if f, err := x.read(); err == nil {
			defer f.Close()
			x.elf, _ = readELF(f)
		}
	}
	return x.elf != nil && x.elf.interp
}
