//go:build linux

package launcher

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

// systemCall is the instruction for it, as bytes in memory.
var systemCall = map[string]string{
	"386": "\xcd\x80", "amd64": "\x0f\x05", "arm": "\x00\x00\x00\xef", "arm64": "\x01\x00\x00\xd4", "loong64": "\x00\x00\x2b\x00",
	"mips64le": "\x0c\x00\x00\x00", "ppc64le": "\x02\x00\x00\x44", "riscv64": "\x73\x00\x00\x00", "s390x": "\x0a\x00",
}

func checkText(t *testing.T, a architecture, text []byte) {
	t.Helper()
	// One reads the list, one makes the calls, one reports, one exits.
	if calls := bytes.Count(text, []byte(systemCall[a.name])); calls != 4 {
		t.Errorf("%d system calls", calls)
	}
	n := len(elfImage(a, text))
	if n >= 4096 {
		t.Errorf("image of %d bytes does not fit one page", n)
	}
	t.Logf("%d bytes, %d of the whole image", len(text), n)
}

var _ = testenv.Long(TestTextOfEveryArchitecture)

// The assembler is there for all architectures: it says which bytes the launcher has, and whether a
// linker would have to change them. That compiles the standard library for each, where it was not.
func TestTextOfEveryArchitecture(t *testing.T) {
	needLauncher(t)
	text, err := launcherText()
	if err != nil {
		t.Fatal(err)
	}
	checkText(t, thisArchitecture(), text)
	if !testenv.Full() {
		return
	}
	testenv.Need(t, testenv.GoTool)
	for _, a := range architectures {
		t.Run(a.name, func(t *testing.T) {
			code, relocations := assembled(t, a)
			mark := a.order.AppendUint32(a.order.AppendUint32(nil, endMark1), endMark2)
			n := bytes.Index(code, mark)
			if n <= 0 || n+len(mark) > maxText || len(bytes.Trim(code[n+len(mark):], "\x00")) != 0 {
				t.Fatalf("%d bytes, the end mark is at %d", len(code), n)
			}
			t.Logf("%d bytes of code", n)
			if len(relocations) != 0 {
				t.Errorf("it refers to symbols: %q", relocations)
			}
			checkText(t, a, code[:n])
		})
	}
}

// assembled returns what the assembler makes of the launcher.
func assembled(t *testing.T, a architecture) (code []byte, relocations []string) {
	t.Helper()
	c := exec.Command("go", "build", "-asmflags=-S", ".")
	c.Env = append(os.Environ(), "GOARCH="+a.name, "CGO_ENABLED=0")
	listing, err := c.CombinedOutput()
	if err != nil {
		testenv.Found(t, "go", fmt.Errorf("go build: %w: %s", err, listing))
	}
	line := regexp.MustCompile(`^\t0x[0-9a-f]+ ((?:[0-9a-f]{2} ){1,16})`)
	inside := false
	for s := bufio.NewScanner(bytes.NewReader(listing)); s.Scan(); {
		text := s.Text()
		if !strings.HasPrefix(text, "\t") {
			inside = strings.HasPrefix(text, "launcher STEXT")
		}
		if !inside {
			continue
		}
		if m := line.FindStringSubmatch(text); m != nil {
			b, err := hex.DecodeString(strings.ReplaceAll(m[1], " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			code = append(code, b...)
		} else if strings.HasPrefix(text, "\trel ") {
			relocations = append(relocations, text)
		}
	}
	return code, relocations
}
