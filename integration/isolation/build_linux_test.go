package isolation

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

// programsEnv names a directory of programs of testdata that were built beforehand, for machines
// without Go: integration/scripts/kernels.sh boots some.
const programsEnv = "GONSO_TEST_PROGRAMS"

// A linkage is how a program of testdata is built, and how its name ends where it was built
// beforehand.
type linkage struct {
	end   string
	cgo   string
	flags []string
}

var (
	asStatic  = linkage{"", "0", nil} // containers have no loader
	asDynamic = linkage{".dynamic", "1", nil}
	// It is in memory together with the program that it loads.
	asLoader = linkage{".loader", "0", []string{"-ldflags=-T=0x40000000"}}
)

func (l linkage) command(name, to string) *exec.Cmd {
	args := append([]string{"build", "-o", to}, l.flags...)
	c := exec.Command("go", append(args, "./testdata/"+name)...)
	c.Env = append(os.Environ(), "CGO_ENABLED="+l.cgo, "GOFLAGS=")
	return c
}

// build makes a static program.
func build(t *testing.T, name, to string) {
	t.Helper()
	asStatic.build(t, name, to)
}

func (l linkage) build(t *testing.T, name, to string) {
	t.Helper()
	dir := os.Getenv(programsEnv)
	if dir == "" {
		c := l.command(name, to)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
		return
	}
	b, err := os.ReadFile(filepath.Join(dir, name+l.end))
	if err == nil {
		err = os.WriteFile(to, b, 0o755)
	}
	if err != nil {
		t.Fatalf("%s: %v", programsEnv, err)
	}
}

// needBuild is for tests that build programs.
func needBuild(t testing.TB) {
	t.Helper()
	if os.Getenv(programsEnv) == "" {
		needTool(t, "tools", "go")
	}
}

// needCgo is for tests that build dynamically linked programs.
func needCgo(t testing.TB) {
	t.Helper()
	needBuild(t)
	if dir := os.Getenv(programsEnv); dir != "" {
		_, err := os.Stat(filepath.Join(dir, "visitor"+asDynamic.end))
		need(t, "gcc", err)
		return
	}
	needTool(t, "gcc", "gcc")
}

func init() {
	// The argument is the directory; it runs where testdata is.
	testenv.Program("builder", func() {
		os.Unsetenv(testenv.ProgramEnv)
		names, err := filepath.Glob("testdata/*/main.go")
		if err == nil && (len(names) == 0 || len(os.Args) != 2) {
			err = fmt.Errorf("no directory is named, or there is no testdata here")
		}
		_, noCompiler := exec.LookPath("gcc")
		for _, path := range names {
			name := filepath.Base(filepath.Dir(path))
			linkages := []linkage{asStatic}
			switch {
			case name == "loader":
				linkages = append(linkages, asLoader)
			case (name == "dynamic" || name == "visitor") && noCompiler == nil:
				linkages = append(linkages, asDynamic)
			}
			for _, l := range linkages {
				if err != nil {
					break
				}
				to := filepath.Join(os.Args[1], name+l.end)
				var out []byte
				if out, err = l.command(name, to).CombinedOutput(); err != nil {
					err = fmt.Errorf("%s: %w\n%s", name, err, out)
				}
			}
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	})
}
