package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
)

// countLines are the lines of code in a source of Go or C: those with more than blanks and
// comments.
func countLines(source []byte) (n int) {
	code := false // there is code in this line
	line := func() {
		if code {
			n++
		}
		code = false
	}
	for i := 0; i < len(source); i++ {
		rest := source[i:]
		switch c := source[i]; {
		case c == '\n':
			line()
		case c == ' ' || c == '\t' || c == '\r':
		case bytes.HasPrefix(rest, []byte("//")):
			i += max(0, bytes.IndexByte(append(rest, '\n'), '\n')-1)
		case bytes.HasPrefix(rest, []byte("/*")):
			end := bytes.Index(rest, []byte("*/"))
			for _, b := range rest[:max(0, end)] {
				if b == '\n' {
					line()
				}
			}
			i += max(0, end) + 1
		case c == '"' || c == '\'' || c == '`':
			code = true
			for i++; i < len(source) && source[i] != c; i++ {
				if source[i] == '\\' && c != '`' {
					i++
				} else if source[i] == '\n' {
					line()
					code = true
				}
			}
		default:
			code = true
		}
	}
	line()
	return n
}

// linesOf is how many lines of code the files below dir have.
func linesOf(dir string, files ...string) (n int, err error) {
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f))
		if err != nil {
			return 0, err
		}
		n += countLines(b)
	}
	return n, nil
}

// linesHere is how many lines of code a port has; dir is that of all ports.
func (p port) linesHere(dir string) (int, error) {
	var names []string
	for _, f := range p.files {
		names = append(names, f.from)
	}
	return linesOf(dir, names...)
}

// linesThere is how many lines of code a port takes the place of; dir is that of the project.
func (p port) linesThere(dir string) (int, error) {
	n, err := linesOf(dir, append(p.unused, p.replaced...)...)
	for _, name := range p.without {
		lines, err := linesOfFunction(filepath.Join(dir, p.replaced[0]), name)
		if err != nil {
			return 0, err
		}
		n -= lines
	}
	return n, err
}

// linesOfFunction is how many lines of code a function of a Go file has.
func linesOfFunction(path, name string) (int, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, path, source, parser.SkipObjectResolution)
	if err != nil {
		return 0, err
	}
	for _, d := range f.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil && d.Name.Name == name {
			return countLines(source[files.Position(d.Pos()).Offset:files.Position(d.End()).Offset]), nil
		}
	}
	return 0, fmt.Errorf("%s: there is no function %s", path, name)
}
