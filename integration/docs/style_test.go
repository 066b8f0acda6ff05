//go:build linux

package docs_test

import (
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

var styled = append([]string{"internal/wire/PROTOCOL.md"}, documents...)

func TestLinesOfDocumentsFitAWindow(t *testing.T) {
	for _, doc := range styled {
		prose(t, doc, func(n int, line string) {
			most := 100
			if strings.HasPrefix(line, "|") {
				most = 120
			}
			if have := utf8.RuneCountInString(line); have > most && !strings.HasPrefix(line, "[") {
				t.Errorf("%s:%d has %d columns, at most %d fit:\n%s", doc, n, have, most, line)
			}
		})
	}
}

// Each row of a table has the columns of its head: GitHub drops what is too much without a word.
func TestTablesHaveTheColumnsOfTheirHeads(t *testing.T) {
	bar := regexp.MustCompile(`\\\||` + "`[^`]*`")
	tables := 0
	for _, doc := range styled {
		columns := 0
		prose(t, doc, func(n int, line string) {
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
				t.Errorf("%s:%d has %d columns, the table's head has %d:\n%s", doc, n, have-1, columns-1, line)
			}
		})
	}
	if tables < 20 {
		t.Errorf("found only %d tables", tables)
	}
}
