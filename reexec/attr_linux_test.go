package reexec

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A limit that takes privilege is raised before that is gone, and all of them come last.
func TestLimitsOfProgramsComeLast(t *testing.T) {
	files, queue := Rlimit{unix.RLIMIT_NOFILE, 5, 9}, Rlimit{unix.RLIMIT_MSGQUEUE, 7, 1 << 40}
	g := &Program{
		Join: []Join{{Type: newUser}}, Paths: []string{"/bin/true"}, NoNewPrivs: true, manyFiles: 1000,
		Rlimits: []Rlimit{files, queue}, raised: []Rlimit{queue},
	}
	l := composeProgram(g, 0)
	at := func(what string) int {
		t.Helper()
		i := strings.Index(l.String(), what)
		if i < 0 {
			t.Fatalf("no %s in\n%v", what, l)
		}
		return i
	}
	order := []int{
		at("prlimit64(0, 12, {1099511627776, 1099511627776}"), at("setns("), at("PR_SET_NO_NEW_PRIVS"),
		at("prlimit64(0, 7, {5, 9}"), at("prlimit64(0, 12, {7, 1099511627776}"), at("execve("),
	}
	for i := range order[1:] {
		if order[i] > order[i+1] {
			t.Errorf("step %d comes too late in\n%v", i, l)
		}
	}
	for i, a := range l.asked {
		if strings.Contains(strings.Split(l.String(), "\n")[i], "prlimit64") && (a.option != "Rlimits" || a.limit == nil) {
			t.Errorf("step %d is for %+v", i, a)
		}
	}
}

// Nothing is dropped from the bounding set that is not there, as dropping takes CAP_SETPCAP.
func TestBoundingSetIsLeftWhereItIsRight(t *testing.T) {
	g := &Program{Paths: []string{"/bin/true"}, Capabilities: &Capabilities{Bounding: 0b101}, bound: 0b111}
	l := composeProgram(g, 0)
	if s := l.String(); strings.Count(s, "PR_CAPBSET_DROP") != 1 || !strings.Contains(s, "prctl(PR_CAPBSET_DROP, 1)") {
		t.Errorf("\n%v", l)
	}
}
