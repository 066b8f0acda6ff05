package gonso

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// What is wrong with a Worker is found before anything is started, everywhere.
func TestWorkerIsChecked(t *testing.T) {
	for want, w := range map[string]Worker{
		"":                         {},
		"Grace is negative":        {Grace: -1},
		"StartTimeout is negative": {StartTimeout: -1},
		"Spin is -1ns, and not between 0 and 1ms": {Spin: -1},
		"Spin is 1s, and not between 0 and 1ms":   {Spin: time.Second},
		`Path is not an absolute path`:            {Path: "helper"},
		`Dir is not an absolute path`:             {Dir: "."},
		`Cgroup is not an absolute path`:          {Cgroup: "user.slice"},
		`Path has a zero byte`:                    {Path: "/bin/\x00"},
		"Rlimits has resource -1":                 {Rlimits: []Rlimit{{Resource: -1}}},
		"Rlimits has resource 99":                 {Rlimits: []Rlimit{{Resource: 99}}},
		"Rlimits has resource 7 twice":            {Rlimits: []Rlimit{{7, 1, 1}, {7, 2, 2}}},
		"soft limit of 2 above the hard":          {Rlimits: []Rlimit{{7, 2, 1}}},
		`Env has "A=\x00", which has a zero byte`: {Env: []string{"A=\x00"}},
	} {
		_, err := w.normalized()
		if want == "" && err != nil || want != "" && (!errors.Is(err, os.ErrInvalid) || !strings.Contains(err.Error(), want)) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	given := Worker{Env: []string{"A=1", "B=2", "A=3", "B="}, Rlimits: []Rlimit{{1, 2, 3}}}
	w, err := given.normalized()
	if err != nil || !slices.Equal(w.Env, []string{"A=3", "B="}) {
		t.Errorf("environment %v, %v", w.Env, err)
	}
	// kubernetes/kubernetes#84539: whoever has started this program may have passed anything.
	odd := []string{"NAME", "A=1", "=C:=x", "", "NAME", "A=2", "=value", "=C:=y", "B"}
	want := (&exec.Cmd{Env: odd}).Environ()
	if w, err := (Worker{Env: odd}).normalized(); err != nil || !slices.Equal(sorted(w.Env), sorted(want)) {
		t.Errorf("odd environment %q, %v; package exec has %q", w.Env, err, want)
	}
	given.Rlimits[0].Resource = 4
	if w.Rlimits[0].Resource != 1 {
		t.Error("the caller's slice was kept")
	}
	if w, err := (Worker{Env: []string{}}).normalized(); err != nil || w.Env == nil {
		t.Errorf("an empty environment became the default: %v", err)
	}
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}
