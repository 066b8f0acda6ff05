package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The documents say how many lines touch namespaces: those that are neither blank nor a comment alone.
func TestDocumentsHaveTheLinesThatTouchNamespaces(t *testing.T) {
	code := regexp.MustCompile(`(?m)^\s*(//.*)?$`)
	n := 0
	for _, name := range []string{"set_linux.go", "root_linux.go", "run_linux.go"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			if !code.MatchString(strings.TrimSuffix(line, "\n")) {
				n++
			}
		}
	}
	for file, want := range map[string]string{"README.md": "takes is %d lines of code", "../docs/moving.md": "| 1700 | %d |"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf(want, n); !strings.Contains(string(b), want) {
			t.Errorf("%s does not say %q", file, want)
		}
	}
}
