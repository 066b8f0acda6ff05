package price

import (
	"debug/buildinfo"
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

const megabyte = 1_000_000

// programs are the commands in this directory, with bounds for what they may be larger than the empty one:
// what was measured (Go 1.26, amd64), and some room for other compilers. Zero is no bound: it is not ours.
var programs = []struct {
	name           string
	most, stripped float64 // megabytes
	without        []string
}{
	{"empty", 0, 0, nil},
	{"imported", 1.9, 1.3, []string{`fxamacker/cbor/v2\.\(\*`, `^net\.\(\*(Dialer|Resolver|TCPConn)`, `gonso/child\.newServer`, `gonso/reexec\.\(\*Worker`}},
	{"closures", 3.4, 2.3, []string{`fxamacker/cbor/v2\.\(\*`, `^net\.\(\*(Dialer|Resolver|TCPConn)`, `gonso/child\.newServer`, `gonso/reexec\.\(\*Worker`}},
	{"functions", 6.3, 4.4, nil}, // its worker could be asked for a socket, and a name's addresses
	{"sockets", 7.0, 5.0, nil},
	{"cni", 0, 0, nil},
	{"moby", 0, 0, nil},
}

// build builds one of them, for this machine, as Go does without a C compiler.
func build(t *testing.T, name string, flags ...string) (file string, size float64) {
	t.Helper()
	file = filepath.Join(t.TempDir(), name)
	c := exec.Command("go", append([]string{"build", "-o", file}, append(flags, "./"+name)...)...)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	return file, float64(st.Size()) / megabyte
}

// symbols are those of the functions of a program.
func symbols(t *testing.T, file string) []string {
	t.Helper()
	e, err := elf.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	all, err := e.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	return names
}

var initLine = regexp.MustCompile(`(?m)^init (\S+) @\S+ ms, (\S+) ms clock`)

// initTime is the least of several runs for what runs before main, in milliseconds: of all packages, and of
// gonso's and its dependency's.
func initTime(t *testing.T, file string) (all, ours float64) {
	t.Helper()
	for run := range 20 {
		c := exec.Command(file)
		c.Env = append(os.Environ(), "GODEBUG=inittrace=1")
		out, _ := c.CombinedOutput() // most of them want an argument, and fail without
		var sum, own float64
		seen := make(map[string]bool)
		for _, m := range initLine.FindAllStringSubmatch(string(out), -1) {
			if seen[m[1]] {
				continue // a worker's, which comes later
			}
			seen[m[1]] = true
			ms, err := strconv.ParseFloat(m[2], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += ms
			if strings.HasPrefix(m[1], "github.com/gonso/") || strings.HasPrefix(m[1], "github.com/fxamacker/") {
				own += ms
			}
		}
		if run == 0 || sum < all {
			all = sum
		}
		if run == 0 || own < ours {
			ours = own
		}
	}
	return all, ours
}

// A program pays for what it uses. The table is that of the documentation: go test -v -run TestPrice ./price.
func TestPriceOfAnImport(t *testing.T) {
	testenv.Need(t, testenv.GoTool)
	var empty, emptyStripped float64
	table := "| program | MB more than an empty one | stripped | before main, ms | of that gonso's |\n|---|---|---|---|---|\n"
	for _, p := range programs {
		file, size := build(t, p.name)
		_, stripped := build(t, p.name, "-ldflags=-s -w")
		if p.name == "empty" {
			empty, emptyStripped = size, stripped
			if info, err := buildinfo.ReadFile(file); err == nil {
				t.Logf("%s, empty: %.2f MB, stripped %.2f", info.GoVersion, size, stripped)
			}
		}
		more, moreStripped := size-empty, stripped-emptyStripped
		if p.most > 0 && (more > p.most || moreStripped > p.stripped) {
			t.Errorf("%s: %.2f MB more than an empty program, stripped %.2f; the bounds are %.2f and %.2f", p.name, more, moreStripped, p.most, p.stripped)
		}
		names := symbols(t, file)
		for _, pattern := range p.without {
			re := regexp.MustCompile(pattern)
			for _, n := range names {
				if re.MatchString(n) {
					t.Errorf("%s: has %s", p.name, n)
					break
				}
			}
		}
		all, ours := initTime(t, file)
		table += fmt.Sprintf("| %s | %.2f | %.2f | %.2f | %.2f |\n", p.name, more, moreStripped, all, ours)
	}
	t.Log("\n" + table)
}
