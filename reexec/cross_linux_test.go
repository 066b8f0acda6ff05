package reexec

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gonso/gonso/internal/launcher"
)

// Root inside must not have a process that the kernel spares when memory runs out. A negative score
// takes a privilege that few machines of tests have (CAP_SYS_RESOURCE): a positive one shows the same.
func TestScoreOfTheSparedCannotComeAlong(t *testing.T) {
	needProcess(t)
	const path = "/proc/self/oom_score_adj"
	old, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, []byte("300"), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(path, old, 0)
	for _, spared := range []bool{true, false} {
		for _, protect := range []bool{true, false} {
			l := newLaunch()
			l.cross(crossing{own: own{facts: facts{spared: spared}}, protect: protect, top: launcher.FirstFileFD})
			l.Sync()
			l.Wait()
			p, err := l.startHere(&launcher.Cmd{})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Next(t.Context()); err != nil {
				t.Error(err)
			}
			want := "300"
			if spared && protect {
				want = "0"
			}
			got, err := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", p.Pid))
			if strings.TrimSpace(string(got)) != want || err != nil {
				t.Errorf("spared %v, somebody else's %v: %q, want %s: %v", spared, protect, got, want, err)
			}
			p.Kill()
			p.Close()
			p.Reap(0)
		}
	}
}
