// Command deadcode lists functions of the library that no program can come to: those that only
// tests use, too. The deadcode tool starts from main functions, so it gets one that uses all that
// packages gonso and gonsotest export.
package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const tool = "golang.org/x/tools/cmd/deadcode@v0.52.0"

// kept are functions that are there on purpose. Exported methods of what is printed or encoded count as
// used by the tool in any case.
var kept = map[string]string{}

func main() {
	dead, err := find()
	for _, line := range dead {
		fmt.Println(line)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "deadcode:", err)
	}
	if err != nil || len(dead) > 0 {
		os.Exit(1)
	}
}

func find() (dead []string, err error) {
	top, err := filepath.Abs("..")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "gonso-deadcode-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	uses := ""
	for _, pkg := range []string{"gonso", "gonso/gonsotest"} {
		u, err := exported(top, pkg)
		if err != nil {
			return nil, err
		}
		uses += u
	}
	for name, text := range map[string]string{
		"go.mod":  "module roots\n\ngo 1.26.0\n",
		"go.work": fmt.Sprintf("go 1.26.0\n\nuse (\n\t.\n\t%q\n)\n", top),
		// What is called by reflection may be any function that is a value somewhere.
		"main.go": "package main\n\nimport (\n\t\"io/fs\"\n\t\"reflect\"\n\n\t\"github.com/gonso/gonso/gonso\"\n\t\"github.com/gonso/gonso/gonso/gonsotest\"\n)\n\n" +
			"func main() {\n\tfor _, v := range []any{\n" + uses + "\t} {\n\t\treflect.ValueOf(v).Call(nil)\n\t}\n}\n\nvar _ fs.PathError\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	c := exec.Command("go", "run", tool, "-filter", "^github.com/gonso/gonso/", ".")
	c.Dir, c.Env, c.Stderr = dir, append(os.Environ(), "GOWORK="+filepath.Join(dir, "go.work"), "GOFLAGS="), os.Stderr
	out, err := c.Output()
	for line := range strings.Lines(string(out)) {
		_, name, _ := strings.Cut(strings.TrimSpace(line), ": unreachable func: ")
		if kept[name] == "" {
			line = strings.TrimSpace(line)
			if rel, err := filepath.Rel(top, line); err == nil && filepath.IsAbs(line) {
				line = rel
			}
			dead = append(dead, line)
		}
	}
	return dead, err
}

// exported gives a line of Go for every function and type that a package exports.
func exported(top, pkg string) (uses string, err error) {
	list := exec.Command("go", "list", "-f", `{{range .GoFiles}}{{$.Dir}}/{{.}}{{"\n"}}{{end}}`, "./"+pkg)
	list.Dir, list.Stderr = top, os.Stderr
	files, err := list.Output()
	if err != nil {
		return "", err
	}
	add := func(format string, name *ast.Ident, params *ast.FieldList) {
		if !name.IsExported() {
			return
		}
		use := filepath.Base(pkg) + "." + name.Name
		if params.NumFields() > 0 {
			var args []string
			for _, p := range params.List {
				arg := "int"
				switch constraint := p.Type.(type) {
				case *ast.Ident:
					if constraint.Name == "error" {
						arg = "*fs.PathError"
					}
				case *ast.UnaryExpr: // ~T
					arg = types.ExprString(constraint.X)
				}
				args = append(args, slices.Repeat([]string{arg}, len(p.Names))...)
			}
			use += "[" + strings.Join(args, ", ") + "]"
		}
		uses += fmt.Sprintf("\t\t"+format+",\n", use)
	}
	for _, file := range strings.Fields(string(files)) {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			return "", err
		}
		for _, decl := range f.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if decl.Recv == nil {
					add("%s", decl.Name, decl.Type.TypeParams)
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					if t, ok := spec.(*ast.TypeSpec); ok {
						add("new(%s)", t.Name, t.TypeParams) // and so its methods
					}
				}
			}
		}
	}
	return uses, nil
}
