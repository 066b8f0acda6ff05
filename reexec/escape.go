package reexec

import (
	"fmt"
	"io"
	"strconv"
	"unicode"
	"unicode/utf8"
)

// The output of somebody else's worker may drive the terminal that shows it: move the cursor, set
// the title, or answer as if somebody typed (CVE-2003-0063 and many more). Text needs no control
// characters but line feeds and tabs.

// appendEscaped appends b to dst, with escapes for bytes that are not text. Unless b is the end of
// the stream, rest is an incomplete character at the end of b.
func appendEscaped(dst, b []byte, end bool) (escaped, rest []byte) {
	for len(b) > 0 {
		if !end && !utf8.FullRune(b) {
			return dst, b
		}
		r, size := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && size == 1:
			dst = fmt.Appendf(dst, `\x%02x`, b[0])
		case r == '\n' || r == '\t' || unicode.IsGraphic(r):
			dst = append(dst, b[:size]...)
		default:
			quoted := strconv.QuoteRuneToASCII(r)
			dst = append(dst, quoted[1:len(quoted)-1]...)
		}
		b = b[size:]
	}
	return dst, nil
}

// printable is the end of an output as text, of size bytes at most.
func printable(b []byte, size int) string {
	escaped, _ := appendEscaped(nil, b, true)
	if over := len(escaped) - size; over > 0 {
		escaped = escaped[over:]
		for len(escaped) > 0 && !utf8.RuneStart(escaped[0]) {
			escaped = escaped[1:]
		}
	}
	return string(escaped)
}

// textOnly marks a writer that must get escapes for bytes that are not text.
type textOnly struct{ io.Writer }

// escaping writes text to another writer, and other bytes as escapes. It is for one stream.
type escaping struct {
	to   io.Writer
	rest []byte // of a character, up to 3 bytes
	buf  []byte
}

func (e *escaping) Write(b []byte) (int, error) {
	n := len(b)
	if len(e.rest) > 0 {
		b = append(e.rest, b...)
	}
	var rest []byte
	e.buf, rest = appendEscaped(e.buf[:0], b, false)
	e.rest = append([]byte(nil), rest...)
	if _, err := e.to.Write(e.buf); err != nil {
		return 0, err
	}
	return n, nil
}
