//go:build linux

package docs_test

import (
	"go/ast"
	gobuild "go/build"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"
)

// prose calls f for each line of a document outside of fenced blocks.
func prose(t *testing.T, doc string, f func(n int, line string)) {
	t.Helper()
	n, fenced := 0, false
	for line := range strings.Lines(document(t, doc)) {
		n++
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		} else if !fenced {
			f(n, strings.TrimSuffix(line, "\n"))
		}
	}
	if fenced {
		t.Errorf("%s does not end its last block", doc)
	}
}

var styled = append([]string{"internal/wire/PROTOCOL.md", "integration/builder/README.md"}, documents...)

func TestLinesOfDocumentsFitAWindow(t *testing.T) {
	for _, name := range styled {
		prose(t, name, func(n int, line string) {
			most := 100
			if strings.HasPrefix(line, "|") {
				most = 120
			}
			if have := utf8.RuneCountInString(line); have > most && !strings.HasPrefix(line, "[") {
				t.Errorf("%s:%d has %d columns, at most %d fit:\n%s", name, n, have, most, line)
			}
		})
	}
}

// A newcomer reads it to the end.
func TestReadmeIsShort(t *testing.T) {
	if n := strings.Count(document(t, "README.md"), "\n"); n >= 200 {
		t.Errorf("README.md has %d lines, not less than 200", n)
	}
}

// Each row of a table has the columns of its head: GitHub drops what is too much without a word.
func TestTablesHaveTheColumnsOfTheirHeads(t *testing.T) {
	bar := regexp.MustCompile(`\\\||` + "`[^`]*`")
	tables := 0
	for _, name := range styled {
		columns := 0
		prose(t, name, func(n int, line string) {
			if !strings.HasPrefix(line, "|") {
				columns = 0
				return
			}
			have := strings.Count(bar.ReplaceAllString(line, ""), "|")
			if columns == 0 {
				columns = have
				tables++
			}
			if have != columns {
				t.Errorf("%s:%d has %d columns, the table's head has %d:\n%s", name, n, have-1, columns-1, line)
			}
		})
	}
	if tables < 20 {
		t.Errorf("found only %d tables", tables)
	}
}

// hard are words that a reader whose first language is another one reads twice. What stands beside them
// is better.
var hard = []struct{ words, better string }{
	{`which who`, "name the one who does it"},
	{`(that|those) of (who|whoever|what|whom)`, "a noun"},
	{`(is|are|was|of|but) that of`, "the noun once more"},
	{`(such a one|such ones|one such)`, "the noun"},
	{`(is|are|has|have|was|were) none`, "\"no\" and the noun"},
	{`(for|to|of|by|as|at|with) who`, "a noun: the caller, the user, the program"},
	{`whoever`, "a noun: the user who"},
	{`(lets|let|letting) go of`, "close, release, give back"},
	{`(is|are) to be (found|had|looked)`, "can be, or must be"},
	{`has not got`, "does not have"},
	{`for (that|this) moment`, "short-lived"},
	{`(thereof|therein|thereby|whereby|wherein|heretofore)`, "a short sentence"},
	{`as does that`, "a sentence of its own"},
	{`what (it|that) is (that|what)`, "a noun"},
	{`just that is`, "only"},
	{`(says|said) so itself`, "a noun"},
	{`in the course of`, "during, while"},
	{`with regard to`, "about"},
	{`(utilize|leverage)[sd]?`, "use"},
	{`none but`, "only"},
	{`is all there is to`, "only, or the command alone"},
	{`(hold|holds|holding|held) (anybody|somebody|nobody) up`, "keep waiting"},
	{`is (the caller's|theirs) to`, "the caller must, or may"},
	{`(no|any|made inside|of) such(,|;|:| and\b| or\b)`, "the noun"},
	{`goes? before what`, "overrides"},
	{`(has|have) mostly no`, "usually has no"},
	{`comes? back on all ways out`, "before each return"},
	{`for want of`, "because there is no"},
}

// paragraphs are the texts that users read: documents, and the comments of exported names.
func paragraphs(t *testing.T) map[string][]string {
	t.Helper()
	texts := make(map[string][]string)
	for _, name := range styled {
		var text strings.Builder
		prose(t, name, func(_ int, line string) {
			if strings.HasPrefix(line, "|") || strings.HasPrefix(line, "- ") {
				text.WriteString("\n\n")
			}
			text.WriteString(line + "\n")
		})
		texts[name] = strings.Split(text.String(), "\n\n")
	}
	for _, dir := range []string{"gonso", "gonso/gonsotest", "reexec", "child"} {
		for _, goos := range []string{"linux", "darwin"} {
			ctx := gobuild.Default
			ctx.GOOS, ctx.GOARCH = goos, "amd64"
			p, err := ctx.ImportDir(filepath.Join(root, dir), 0)
			if err != nil {
				t.Fatal(err)
			}
			fset := token.NewFileSet()
			for _, name := range p.GoFiles {
				f, err := parser.ParseFile(fset, filepath.Join(root, dir, name), nil, parser.ParseComments)
				if err != nil {
					t.Fatal(err)
				}
				ast.FileExports(f)
				ast.Inspect(f, func(n ast.Node) bool {
					if g, ok := n.(*ast.CommentGroup); ok {
						where := fset.Position(g.Pos())
						texts[strings.TrimPrefix(where.String(), root+"/")] = strings.Split(g.Text(), "\n\n")
					}
					return true
				})
			}
		}
	}
	if len(texts) < 300 {
		t.Fatalf("there are %d texts only", len(texts))
	}
	return texts
}

func TestTextsHaveNoHardWords(t *testing.T) {
	texts := paragraphs(t)
	for _, h := range hard {
		words := regexp.MustCompile(`(?i)\b` + h.words + `\b`)
		for where, list := range texts {
			for _, p := range list {
				p = strings.Join(strings.Fields(p), " ")
				for _, at := range words.FindAllStringIndex(p, -1) {
					t.Errorf("%s: %q; better: %s\n\t...%s...", where, p[at[0]:at[1]], h.better, p[max(at[0]-60, 0):min(at[1]+60, len(p))])
				}
			}
		}
	}
}
