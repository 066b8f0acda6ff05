package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/gonso/gonso/internal/testenv"
)

// BuildKit's own Dockerfiles, which its module has, are read as BuildKit reads them, or refused with the line.
func TestDockerfilesOfBuildKit(t *testing.T) {
	testenv.Need(t, testenv.GoTool)
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/moby/buildkit").Output()
	dir := strings.TrimSpace(string(out))
	if err == nil && dir == "" {
		err = errors.New("the module is not in the cache")
	}
	testenv.Found(t, "go", err)
	files, err := filepath.Glob(filepath.Join(dir, "frontend/dockerfile/parser/testfiles*/*/Dockerfile"))
	if err != nil || len(files) < 20 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	read, refused := 0, 0
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(filepath.Dir(file))
		p, _, err := readPlan(name, strings.NewReader(string(b)), "", nil)
		var at *at
		if errors.As(err, &at) && at.line > 0 && at.err.Error() != "" {
			refused++
			t.Log(err)
			continue
		}
		if err != nil {
			t.Errorf("%s is refused without a line: %v", name, err)
			continue
		}
		read++
		ast, err := parser.Parse(strings.NewReader(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		stages, _, err := instructions.Parse(ast.AST, nil)
		if err != nil || len(stages) != len(p.stages) {
			t.Errorf("%s: %d stages, and in BuildKit %d, %v", name, len(p.stages), len(stages), err)
			continue
		}
		for i, s := range stages {
			if got, want := codes(p.stages[i].Commands), codes(s.Commands); got != want {
				t.Errorf("%s: stage %d is\n%s\nand in BuildKit\n%s", name, i, got, want)
			}
		}
	}
	t.Logf("%d were read, and %d refused", read, refused)
	if read < 10 {
		t.Errorf("only %d were read", read)
	}
}

func codes(commands []instructions.Command) string {
	var all []string
	for _, c := range commands {
		all = append(all, code(c))
	}
	return strings.Join(all, "\n")
}
