package isolation

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// opencontainers/runc#4243: a dynamically linked program finds no loader in a
// foreign root. What can run there without does; the rest says what helps, and
// that does.
func TestDynamicProgramInAForeignRoot(t *testing.T) {
	needRoot(t)
	needCgo(t)
	dir := t.TempDir()
	static, dynamic := filepath.Join(dir, "static"), filepath.Join(dir, "dynamic")
	build(t, "dynamic", static)
	asDynamic.build(t, "dynamic", dynamic)
	for name, tt := range map[string]struct {
		args       []string
		goroutines []string
	}{
		"static":                         {[]string{static}, []string{"goroutines: inside, <nil>\n"}},
		"dynamic":                        {[]string{dynamic}, []string{"goroutines: , gonso: call goroutines", "dynamically linked", "CGO_ENABLED=0", "Worker.Path"}},
		"dynamic, with a static helper":  {[]string{dynamic, static}, []string{"goroutines: inside, <nil>\n"}},
		"static, with a dynamic helper":  {[]string{static, dynamic}, []string{"goroutines: , gonso: call goroutines", "dynamically linked", "CGO_ENABLED=0"}},
		"dynamic, with another's helper": {[]string{dynamic, "/bin/true"}, []string{"/bin/true", "gonso.Init()"}},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			args := append([]string{root}, tt.args[1:]...)
			out, err := exec.Command(tt.args[0], args...).CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !strings.HasPrefix(string(out), "plain: inside, <nil>\n") && !strings.Contains(name, "another's") {
				t.Errorf("%s", out)
			}
			for _, words := range tt.goroutines {
				if !strings.Contains(string(out), words) {
					t.Errorf("no %q in:\n%s", words, out)
				}
			}
		})
	}
}
