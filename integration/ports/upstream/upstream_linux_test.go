package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

const library = "../../.."

func TestMain(m *testing.M) { testenv.Main(m, gonso.Init) }

func TestLinesOfCode(t *testing.T) {
	for source, want := range map[string]int{
		"": 0, "\n\n": 0, "package p": 1, "package p\n\n// c\nvar x int // c\n": 2,
		"/* c\nc */\nvar x int\n": 1, "/* c */ var x int": 1, "var x int /* c\nc */\nvar y int": 2, "// c": 0,
		"var s = \"// no\"\n": 1, "var s = `\n// no\n`\n": 3, "var s = \"\\\"/*\"\nvar t = '\"'\nvar u = 1 // c": 3,
		"\tif x {\n\t\ty()\n\t}\n": 3, "#include <x.h>\n\n\tint x = a / b; // c\n\tint y = a\n\t/ b;\n": 4,
	} {
		if got := countLines([]byte(source)); got != want {
			t.Errorf("%q: %d, want %d", source, got, want)
		}
	}
}

// Figures in integration/docs/moving.md: | [project](...) ... | `integration/ports/NAME/` | there | here | ...
func TestMovingHasTheLinesOfThePorts(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(library, "integration/docs/moving.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ports {
		row := regexp.MustCompile("(?m)^\\|.*`integration/ports/" + p.name + "/` \\| (\\d+) \\| (\\d+) \\|.*$").FindSubmatch(page)
		if row == nil {
			t.Errorf("moving.md has no row for %s", p.name)
			continue
		}
		here, err := p.linesHere(filepath.Join(library, "integration/ports"))
		if err != nil {
			t.Error(err)
		}
		if got := string(row[2]); got != fmt.Sprint(here) {
			t.Errorf("moving.md says that %s has %s lines of code, it has %d", p.name, got, here)
		}
		t.Run(p.name, func(t *testing.T) {
			t.Setenv("GOPROXY", "off")
			dir, err := download(t.Context(), p.module)
			if err != nil { // it is no part of what tests are promised
				testenv.Found(t, "source", fmt.Errorf("that of %s in the cache of modules: %w", p.module, err))
			}
			there, err := p.linesThere(dir)
			if got := string(row[1]); err != nil || got != fmt.Sprint(there) {
				t.Errorf("moving.md says that the project has %s lines of code for that, it has %d, %v", got, there, err)
			}
		})
	}
}

func TestCountsOfGoAndOfGinkgo(t *testing.T) {
	out := strings.Join([]string{
		"=== RUN   TestA", "--- PASS: TestA (0.00s)", "    --- PASS: TestA/b (0.00s)", "--- FAIL: TestC (0.00s)", "--- SKIP: TestD (0.00s)",
		"\x1b[1mSUCCESS!\x1b[0m -- \x1b[38;5;10m\x1b[1m13 Passed\x1b[0m | \x1b[38;5;9m\x1b[1m2 Failed\x1b[0m | 1 Pending | 4 Skipped",
		"the text --- PASS: none",
	}, "\n")
	if got, want := count([]byte(out)), (counts{15, 3, 6}); got != want {
		t.Errorf("%v, want %v", got, want)
	}
}

// A module of the test's own is the project: its test finds out which file it was built with.
func TestPortsTakeThePlaceOfTheFiles(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.GoTool)
	project, dir := t.TempDir(), t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                  "module example.com/project\n\ngo 1.26.0\n",
		"core/mount/theirs.go":    "package mount\n\nimport (\n\t\"errors\"\n\t\"os\"\n\t\"syscall\"\n)\n\nfunc getUsernsFD(a, b []syscall.SysProcIDMap) (*os.File, error) { return nil, errors.New(\"theirs\") }\n",
		"core/mount/some_test.go": "package mount\n\nimport \"testing\"\n\nfunc TestIt(t *testing.T) {\n\tif _, err := getUsernsFD(nil, nil); err.Error() == \"theirs\" {\n\t\tt.Skip()\n\t}\n}\n",
	} {
		path := filepath.Join(project, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o444)); err != nil {
			t.Fatal(err)
		}
	}
	p := port{name: "own", module: "example.com/project@v0.0.0", replaced: []string{"core/mount/theirs.go"},
		files: []file{{"mount/userns_linux.go", "core/mount"}}, packages: []string{"core/mount"}}
	*top = library
	defer func() { *top = "." }()
	before, after, err := p.tests(t.Context(), project, dir)
	if err != nil {
		if errors.Is(err, errAbsent) {
			testenv.Found(t, "go", err)
		}
		t.Fatal(err)
	}
	if before != (counts{skipped: 1}) || after != (counts{passed: 1}) {
		t.Errorf("before %v, after %v", before, after)
	}
}

func TestPortsThatAreNone(t *testing.T) {
	if _, err := choose([]string{"cni", "none"}); err == nil || !strings.HasPrefix(err.Error(), "none: ") {
		t.Errorf("%v", err)
	}
	if all, err := choose(nil); err != nil || len(all) != len(ports) {
		t.Errorf("%v, %v", all, err)
	}
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOMODCACHE", t.TempDir())
	if _, err := download(t.Context(), ports[0].module); !errors.Is(err, errAbsent) {
		t.Errorf("%v", err)
	}
}
