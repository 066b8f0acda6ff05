package reexec

import (
	"bytes"
	"strings"
	"testing"
)

// CVE-2003-0063 and its siblings: text from inside drives nobody's terminal.
func TestPrintedTextCannotDriveATerminal(t *testing.T) {
	for in, want := range map[string]string{
		"plain\tline\nnext":        "plain\tline\nnext",
		"ä€𝄞 日本":                   "ä€𝄞 日本",
		"\x1b]0;title\x07":         `\x1b]0;title\a`,
		"\x1b[21t\x1b[6n\x1bP$q\"": `\x1b[21t\x1b[6n\x1bP$q"`,
		"over\rwritten\b\b":        `over\rwritten\b\b`,
		"\u009b31m":                `\u009b31m`,
		"\x9b31m":                  `\x9b31m`,
		"\x7f\x00\v\f":             `\x7f\x00\v\f`,
		"gnp\u202e.exe\u2066":      `gnp\u202e.exe\u2066`,
		"cut \xe2\x82":             `cut \xe2\x82`,
	} {
		if got := printable([]byte(in), 1000); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
		for at := range len(in) + 1 { // in two writes
			var b bytes.Buffer
			e := &escaping{to: &b}
			for _, part := range []string{in[:at], in[at:]} {
				if n, err := e.Write([]byte(part)); n != len(part) || err != nil {
					t.Fatal(n, err)
				}
			}
			if got := b.String(); got != want && got+`\xe2\x82` != want {
				t.Errorf("%q in two became %q, want %q", in, got, want)
			}
		}
	}
	if got := printable([]byte(strings.Repeat("\x1b", 5000)+"ende"), 100); len(got) > 100 || !strings.HasSuffix(got, `\x1bende`) {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
