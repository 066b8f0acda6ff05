package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Programs open what they print to again, whoever they are.
func TestStandardStreamsCanBeOpenedAgain(t *testing.T) {
	s := newSite(t).withBase()
	const script = "echo out >/dev/stdout; echo err >/dev/stderr; echo fd >/proc/self/fd/1"
	for _, user := range []string{"root", "app", "1234:5"} {
		s.files("ctx", map[string]string{"Dockerfile": "FROM base\nUSER " + user + "\nRUN " + script})
		_, progress := s.mustBuild("-no-cache", "-t", "streams", "ctx")
		for _, want := range []string{" out\n", " err\n", " fd\n"} {
			if !strings.Contains(progress, want) {
				t.Errorf("%s: no %q\n%s", user, want, progress)
			}
		}
		c := s.command("run", "-cache", s.cache, "streams", "sh", "-c", script+"; cat /dev/stdin")
		c.Stdin = strings.NewReader("in\n")
		if got, err := c.CombinedOutput(); err != nil || string(got) != "out\nerr\nfd\nin\n" {
			t.Errorf("%s: %v: %s", user, err, got)
		}
	}
}

// A file that run writes to stays its owner's.
func TestRunGivesNoFileAway(t *testing.T) {
	s := newSite(t).withBase()
	f, err := os.Create(filepath.Join(s.dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := s.command("run", "-cache", s.cache, "base", "echo", "text")
	c.Stdout = f
	if err := c.Run(); err != nil {
		t.Fatal(err)
	}
	if st, err := f.Stat(); err != nil || int(st.Sys().(*unixStat).Uid) != os.Geteuid() || st.Size() != 5 {
		t.Errorf("%+v, %v", st, err)
	}
}
