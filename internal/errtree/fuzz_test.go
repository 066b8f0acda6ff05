//go:build !plan9

package errtree

import (
	"errors"
	"io"
	"io/fs"
	"syscall"
	"testing"

	"github.com/gonso/gonso/internal/codec"
)

func FuzzError(f *testing.F) {
	for _, err := range []error{
		io.EOF, syscall.EPERM, errors.New("x"), isErr{}, errors.Join(io.EOF, errMine),
		&customErr{5, &fs.PathError{Op: "open", Path: "/", Err: syscall.ENOENT}}, &codec.ValueError{Op: "x"},
	} {
		f.Add(Marshal(err))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err, malformed := Unmarshal(b)
		if malformed != nil {
			if !errors.Is(malformed, ErrMalformed) || err != nil {
				t.Fatal(malformed)
			}
			return
		}
		if err == nil {
			return
		}
		text := err.Error()
		again := Marshal(err)
		back, malformed := Unmarshal(again)
		if malformed != nil || back.Error() != text {
			t.Fatalf("%q became %v, %v", text, back, malformed)
		}
		errors.Is(err, io.EOF)
	})
}
