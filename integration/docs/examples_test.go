//go:build linux

package docs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/doc"
	"go/format"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Examples of these packages are documentation. Those of the last ones are for contributors: they may
// import internal packages.
var (
	publicPackages = []string{"gonso", "gonso/gonsotest"}
	ownPackages    = []string{"reexec", "child", "internal/wire"}
)

// play is an Example as a program.
type play struct {
	*doc.Example
	dir  string // of its package
	file string
	fset *token.FileSet
}

func (p play) name() string { return p.dir + ".Example" + p.Name }

func (p play) imports(path string) bool {
	return slices.ContainsFunc(p.Play.Imports, func(i *ast.ImportSpec) bool { return strings.Contains(i.Path.Value, path) })
}

func plays(t *testing.T) (all []play) {
	t.Helper()
	for _, dir := range append(slices.Clone(publicPackages), ownPackages...) {
		files, err := filepath.Glob(filepath.Join(root, dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, file, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range doc.Examples(f) {
				all = append(all, play{e, dir, file, fset})
			}
		}
	}
	if len(all) < 50 {
		t.Fatalf("there are %d Examples only", len(all))
	}
	return all
}

// wholeFile says that the page shows all of the file, and not only the body of the function.
func (p play) wholeFile() bool {
	_, ok := p.Code.(*ast.File)
	return ok
}

func TestExamplesAreWholePrograms(t *testing.T) {
	for _, p := range plays(t) {
		if p.Play == nil {
			t.Errorf("%s: %s is no program: it uses what its file does not have", p.file, p.name())
			continue
		}
		others := slices.ContainsFunc(p.Play.Decls, func(d ast.Decl) bool {
			if g, ok := d.(*ast.GenDecl); ok {
				return g.Tok != token.IMPORT
			}
			return d.(*ast.FuncDecl).Name.Name != "main"
		})
		if others && !p.wholeFile() {
			t.Errorf("%s: the page of %s does not show what else it uses: give it a file of its own", p.file, p.name())
		}
		if slices.Contains(publicPackages, p.dir) && p.imports("/internal/") {
			t.Errorf("%s: %s imports what its reader cannot", p.file, p.name())
		}
		var text bytes.Buffer
		if err := format.Node(&text, p.fset, p.Play); err != nil {
			t.Errorf("%s: %v", p.file, err)
		}
		// A worker would run the program's main a second time.
		needsInit := strings.Contains(text.String(), "gonso.Register(") || strings.Contains(text.String(), "s.Self(")
		if needsInit && !strings.Contains(text.String(), "func main() {\n\tgonso.Init()") &&
			!strings.Contains(text.String(), "main := func() {\n\t\tgonso.Init()") {
			t.Errorf("%s: %s does not begin with gonso.Init", p.file, p.name())
		}
		if p.Output == "" && strings.Contains(text.String(), "fmt.Println") && p.Name != "Cmd_RunAndExit" {
			t.Errorf("%s: %s prints something, and does not say what", p.file, p.name())
		}
	}
}

// What an Example needs has to be known, or it fails where namespaces are forbidden.
func TestExamplesSayWhatTheyNeed(t *testing.T) {
	listed := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^\t"Example(\w*)":`).FindAllStringSubmatch(document(t, "gonso/example_needs_linux_test.go"), -1) {
		listed[m[1]] = true
	}
	for _, p := range plays(t) {
		if p.dir != "gonso" || p.Output == "" || p.Play == nil {
			continue
		}
		var text bytes.Buffer
		if err := format.Node(&text, p.fset, p.Play); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text.String(), "gonso.Unshare(") && !listed[p.Name] {
			t.Errorf("%s makes namespaces; exampleNeeds does not have it", p.name())
		}
		delete(listed, p.Name)
	}
	for name := range listed {
		t.Errorf("exampleNeeds has Example%s, which there is not", name)
	}
}

// What these print needs root, or subordinate ids: see exampleNeeds in package gonso.
var (
	rootsExamples  = []string{"Set_Run", "Set_Go", "Set_Pin", "OwnerUID", "_pivotRoot"}
	subIDsExamples = []string{"SubIDs", "OnlySubIDs", "IDMaps_plainUser"}
)

// Each Example is a program that prints what it says, without the tests' TestMain around it. One
// executable has them all: linking each would take minutes.
func TestExamplesRunAsPrograms(t *testing.T) {
	needGo(t)
	dir := openDir(t)
	all := slices.DeleteFunc(plays(t), func(p play) bool { return p.Play == nil })
	exe := buildPlays(t, dir, all)

	users := []struct {
		name string
		uid  int
		attr *syscall.SysProcAttr
	}{{"as this user", os.Geteuid(), nil}}
	if users[0].uid == 0 {
		users = append(users, users[0])
		users[1].name, users[1].uid = "as a plain user", 65534
		users[1].attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	for _, u := range users {
		tmp := filepath.Join(dir, "tmp"+strconv.Itoa(u.uid))
		if err := os.Mkdir(tmp, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(tmp, u.uid, -1); err != nil {
			t.Fatal(err)
		}
		t.Run(u.name, func(t *testing.T) {
			for i, p := range all {
				if p.Output == "" || p.imports(`"testing"`) {
					continue
				}
				t.Run(p.name(), func(t *testing.T) { runPlay(t, exe, i, p, u.uid, u.attr, tmp) })
			}
			left, err := os.ReadDir(tmp)
			if err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

func runPlay(t *testing.T, exe string, i int, p play, uid int, attr *syscall.SysProcAttr, tmp string) {
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Dir, cmd.SysProcAttr = "/", attr
	cmd.Env = append(os.Environ(), numberEnv+"="+strconv.Itoa(i), "TMPDIR="+tmp)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	lines := func(s string) string {
		list := strings.Split(strings.TrimSpace(s), "\n")
		if p.Unordered {
			slices.Sort(list)
		}
		return strings.Join(list, "\n")
	}
	got := lines(string(out))
	if p.dir == "gonso" && slices.Contains(rootsExamples, p.Name) && uid != 0 {
		if !strings.Contains(got, "CAP_S") {
			t.Errorf("a plain user gets no error that names a capability:\n%s", got)
		}
		return
	}
	if got == lines(p.Output) {
		return
	}
	if p.dir == "gonso" && slices.Contains(subIDsExamples, p.Name) && (uid == 0 || strings.Contains(got, "subordinate ids")) {
		lacks(t, "subids", got)
	}
	if strings.HasPrefix(got, "gonso: unshare") {
		lacks(t, "userns", got)
	}
	t.Errorf("it prints\n%s\nand says\n%s", got, p.Output)
}

// buildPlays makes an executable of all Examples.
func buildPlays(t *testing.T, dir string, all []play) (exe string) {
	t.Helper()
	var sources [][]byte
	for i, p := range all {
		var text bytes.Buffer
		for _, d := range p.Play.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "main" {
				f.Name = ast.NewIdent("Main")
			}
		}
		p.Play.Name = ast.NewIdent(fmt.Sprintf("program%d", i))
		if err := format.Node(&text, p.fset, p.Play); err != nil {
			t.Fatalf("%s: %v", p.file, err)
		}
		sources = append(sources, text.Bytes())
	}
	return bundle(t, dir, "docsexamples", sources)
}

// numberEnv is in the environment of an executable that bundle makes: the number of the program to run.
const numberEnv = "GONSO_DOCS_PROGRAM"

// bundle makes an executable that has many programs, as linking each would take minutes. The source of
// program 7 is a file of package program7, its main an exported Main.
func bundle(t *testing.T, dir, name string, sources [][]byte) (exe string) {
	t.Helper()
	module, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	replace := make(map[string]string)
	put := func(file string, text []byte) (at string) {
		at = filepath.Join(dir, strings.ReplaceAll(file, "/", "-"))
		if err := os.WriteFile(at, text, 0o644); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(module, file)] = at
		return at
	}
	var imports, mains strings.Builder
	for i, source := range sources {
		put(fmt.Sprintf("%s/program%d/program.go", name, i), source)
		fmt.Fprintf(&imports, "\t\"github.com/gonso/gonso/integration/%s/program%d\"\n", name, i)
		fmt.Fprintf(&mains, "\t\tprogram%d.Main,\n", i)
	}
	put(name+"/main.go", fmt.Appendf(nil, `package main

import (
	"os"
	"strconv"

	"github.com/gonso/gonso/gonso"
%s)

func main() {
	n, err := strconv.Atoi(os.Getenv("%s"))
	if err != nil { // a worker in somebody else's Set does not get it
		gonso.Init()
		panic(err)
	}
	[]func(){
%s	}[n]()
}
`, imports.String(), numberEnv, mains.String()))
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	exe = filepath.Join(dir, name+".exe")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-overlay", put(name+".json", overlay), "-o", exe, "./"+name)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s do not compile as programs: %v\n%s", name, err, out)
	}
	return exe
}
