//go:build linux

// Package docs_test keeps the documents true: their programs are compiled and
// run as they are written, and what they name is there.
package docs_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

const root = "../.."

var documents = []string{
	"README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md",
	"integration/docs/code.md", "integration/docs/costs.md", "integration/docs/guide.md", "integration/docs/moving.md", "integration/docs/newcomer.md", "integration/docs/reference.md",
	"integration/docs/requirements.md",
}

func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// blocks returns the fenced blocks of a language.
func blocks(text, language string) (found []string) {
	const fence = "```"
	var block *strings.Builder
	of := ""
	for line := range strings.Lines(text) {
		switch {
		case !strings.HasPrefix(line, fence):
			if block != nil {
				block.WriteString(line)
			}
		case block == nil:
			block, of = new(strings.Builder), strings.TrimSpace(line[len(fence):])
		default:
			if of == language {
				found = append(found, block.String())
			}
			block = nil
		}
	}
	return found
}

// build compiles a program as a package of the integration module, which it is
// laid over, and returns the executable, for everybody to run.
func build(t *testing.T, dir, name, source string) string {
	t.Helper()
	module, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	file, exe := filepath.Join(dir, name+".go"), filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(module, name, "main.go"): file}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".json", overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "build", "-overlay", file+".json", "-o", exe, "./"+name)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s does not compile as written: %v\n%s", name, err, out)
	}
	return exe
}

// lacks skips, or fails if the run promised what is missing.
func lacks(t *testing.T, what string, why any) {
	t.Helper()
	testenv.Found(t, what, errors.New(strings.Join(strings.Fields(fmt.Sprint(why)), " ")))
}

// needGo asks for a go command that has the modules: a plain user often has
// neither a cache of them nor a network.
func needGo(t *testing.T) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "./demo")
	cmd.Dir, cmd.Env = "..", append(os.Environ(), "GOPROXY=off")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		why, _, _ := strings.Cut(stderr.String(), "\n")
		lacks(t, "go", fmt.Sprintf("%v: %s", err, why))
	}
}

// openDir makes a directory of the test's that a plain user finds programs in.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gonso-docs-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReadmeProgramsCompileAndRunAsWritten(t *testing.T) {
	needGo(t)
	programs := append(blocks(document(t, "README.md"), "go"), blocks(document(t, "integration/docs/reference.md"), "go")...)
	if len(programs) != 3 {
		t.Fatalf("the documents have %d Go blocks, this test knows what three of them print", len(programs))
	}
	dir := openDir(t)
	command, function, closure := build(t, dir, "readmecommand", programs[0]), build(t, dir, "readmefunction", programs[1]),
		build(t, dir, "readmeclosure", programs[2])

	t.Run("as this user", func(t *testing.T) { runPrograms(t, command, function, closure, os.Geteuid(), nil) })
	if os.Geteuid() == 0 {
		t.Run("as a plain user", func(t *testing.T) {
			runPrograms(t, command, function, closure, 65534, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}})
		})
	}
}

func runPrograms(t *testing.T, command, function, closure string, uid int, attr *syscall.SysProcAttr) {
	t.Helper()
	start := func(exe string) (string, error) {
		cmd := exec.CommandContext(t.Context(), exe)
		cmd.Dir, cmd.SysProcAttr = "/", attr
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := start(closure)
	if uid == 0 {
		if err != nil || !slices.Contains(strings.Fields(out), "lo") {
			t.Errorf("the closure: %v\n%s", err, out)
		}
	} else if want := errorExample(t); err == nil || !strings.Contains(out, want) {
		t.Errorf("the closure: %v\n%swant the error that README.md shows:\n%s", err, out, want)
	}

	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		exe  string
		want []string
	}{
		{command, []string{"inside\n0\n", "    lo: "}},
		{function, []string{
			"inside: process ", ", uid 0, host inside\n",
			fmt.Sprintf(", uid %d, host %s\n", uid, host),
			"functions: process: join user, uts",
			"closures:  refused: ",
		}},
	} {
		out, err := start(p.exe)
		if err != nil {
			if strings.Contains(out, "unshare") {
				lacks(t, "userns", out)
			}
			t.Fatalf("%s: %v\n%s", p.exe, err, out)
		}
		for _, want := range p.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s does not print %q:\n%s", p.exe, want, out)
			}
		}
	}
}

// errorExample is the error that README.md shows.
func errorExample(t *testing.T) string {
	t.Helper()
	for _, b := range blocks(document(t, "README.md"), "") {
		if strings.HasPrefix(b, "gonso: ") {
			return strings.TrimSpace(b)
		}
	}
	t.Fatal("README.md shows no error")
	return ""
}

func TestDocumentsNameFilesThatExist(t *testing.T) {
	path := regexp.MustCompile("`([\\w.{},/-]+(?:/|\\.(?:go|s|md|sh|mod|ya?ml)))`|\\]\\(([^):#\\s]+)\\)")
	n := 0
	for _, doc := range documents {
		for _, m := range path.FindAllStringSubmatch(document(t, doc), -1) {
			for _, name := range braces(m[1] + m[2]) {
				n++
				from := root
				if strings.HasPrefix(m[2], ".") { // a link is relative to its document
					from = filepath.Join(root, filepath.Dir(doc))
				}
				if _, err := os.Stat(filepath.Join(from, name)); err != nil {
					t.Errorf("%s names %s: %v", doc, name, err)
				}
			}
		}
	}
	if n < 10 {
		t.Errorf("found only %d names of files", n)
	}
}

// braces expands one {a,b}.
func braces(s string) []string {
	before, rest, ok := strings.Cut(s, "{")
	inner, after, closed := strings.Cut(rest, "}")
	if !ok || !closed {
		return []string{s}
	}
	var all []string
	for alternative := range strings.SplitSeq(inner, ",") {
		all = append(all, before+alternative+after)
	}
	return all
}

// slug is the anchor that GitHub gives a heading.
func slug(heading string) string {
	heading = regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(strings.TrimSpace(heading), " ", "-")
}

func TestDocumentsLinkToHeadingsThatExist(t *testing.T) {
	link, heading := regexp.MustCompile(`\]\(([\w./-]*)#([\w-]+)\)`), regexp.MustCompile(`(?m)^#+ (.*)$`)
	n := 0
	for _, doc := range documents {
		for _, m := range link.FindAllStringSubmatch(document(t, doc), -1) {
			n++
			to := doc
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(doc), m[1])
			}
			if !slices.ContainsFunc(heading.FindAllStringSubmatch(document(t, to), -1), func(h []string) bool { return slug(h[1]) == m[2] }) {
				t.Errorf("%s links to %s#%s, which has no such heading", doc, to, m[2])
			}
		}
	}
	if n < 10 {
		t.Errorf("found only %d links to headings", n)
	}
}

func TestDocumentsNameTargetsThatExist(t *testing.T) {
	makefile := document(t, "Makefile")
	target := regexp.MustCompile("(?m)(?:`|^)make ([a-z][a-z-]*)")
	n := 0
	for _, doc := range documents {
		for _, m := range target.FindAllStringSubmatch(document(t, doc), -1) {
			n++
			if !regexp.MustCompile(`(?m)^` + m[1] + `\b.*:`).MatchString(makefile) {
				t.Errorf("%s names the target %q, which the Makefile does not have", doc, m[1])
			}
		}
	}
	if n < 4 {
		t.Errorf("found only %d names of targets", n)
	}
}

func TestReadmeNamesThePackagesThatSetupInstalls(t *testing.T) {
	_, list, ok := strings.Cut(document(t, "README.md"), "from Debian: ")
	list, _, closed := strings.Cut(list, ". ")
	if !ok || !closed {
		t.Fatal("README.md does not list Debian packages")
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-c", `
		source <(sed -n '/^programs() {/,/^}/p' "$1")
		programs tests | cut -d' ' -f2
		sed -n '/^missing() {/,/^}/s/^\t\techo \([a-z0-9-]*\).*/\1/p' "$1"`, "-", filepath.Join(root, "integration/scripts/setup.sh"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Fields(strings.NewReplacer(",", " ", " and ", " ").Replace(strings.Join(strings.Fields(list), " ")))
	want := strings.Fields(string(out))
	slices.Sort(got)
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(got, want) {
		t.Errorf("README.md lists %q,\nsetup.sh installs %q", got, want)
	}
}

// declared are the package-level names, and the methods as T.M, of some files.
func declared(t *testing.T, dir string, include func(name string) bool) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || !include(d.Name()) {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range f.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				names[decl.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						names[spec.Name.Name] = true
					case *ast.ValueSpec:
						for _, name := range spec.Names {
							names[name.Name] = true
						}
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func isTest(name string) bool { return strings.HasSuffix(name, "_test.go") }

func TestDocumentsNameWhatThePackageHas(t *testing.T) {
	names := declared(t, filepath.Join(root, "gonso"), func(name string) bool { return !isTest(name) })
	symbol := regexp.MustCompile(`\bgonso\.([A-Z]\w*)`)
	for _, doc := range documents {
		for _, m := range symbol.FindAllStringSubmatch(document(t, doc), -1) {
			if !names[m[1]] {
				t.Errorf("%s names gonso.%s, which there is not", doc, m[1])
			}
		}
	}
}

// A promise without its test is none.
func TestDocumentsNameTestsThatExist(t *testing.T) {
	names := declared(t, root, isTest)
	test := regexp.MustCompile(`\b(?:Test|Fuzz|Benchmark)[A-Z]\w+`)
	for _, doc := range documents {
		for _, name := range test.FindAllString(document(t, doc), -1) {
			if !names[name] {
				t.Errorf("%s names %s, which there is not", doc, name)
			}
		}
	}
}

// What the table of refusals quotes is what the library says, and nothing is quoted that was reworded.
func TestTableOfRefusalsQuotesTheLibrary(t *testing.T) {
	var source strings.Builder
	for _, dir := range []string{"gonso", "reexec", "internal/launcher", "internal/procfs"} {
		names, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %q, %v", dir, names, err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			source.Write(b)
		}
	}
	const name = "integration/docs/requirements.md"
	_, table, ok := strings.Cut(document(t, name), "| the machine | says | what helps |\n|---|---|---|\n")
	table, _, end := strings.Cut(table, "\n\n")
	if !ok || !end {
		t.Fatalf("%s has no such table", name)
	}
	for row := range strings.Lines(table) {
		cells := strings.Split(strings.TrimSpace(row), " | ")
		if len(cells) != 3 {
			t.Errorf("%d cells: %s", len(cells), row)
			continue
		}
		// A text may be made of parts: "possibly " and what is possible.
		if quoted := strings.TrimPrefix(strings.Trim(cells[1], "`"), "possibly "); !strings.Contains(source.String(), quoted) {
			t.Errorf("the library says nowhere %q", quoted)
		}
	}
}
