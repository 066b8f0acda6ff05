package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gonso/gonso/internal/testenv"
)

// Files that look as before are not read again; one that has changed is, also if its size and time are put back.
func TestFilesAreReadWhenTheyChange(t *testing.T) {
	s := newSite(t).withBase()
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nCOPY dir /dir\nFROM base\nCOPY --from=0 /dir /\n", "dir/file": "one\n", "dir/other": "two\n"})
	sums := func() []string {
		all, err := filepath.Glob(filepath.Join(s.cache, "ids-*", "sums", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	file := filepath.Join(s.dir, "ctx", "dir", "file")
	s.mustBuild("-t", "early", "ctx")
	before := len(sums())
	settle(t)
	if err := os.WriteFile(file, []byte("One\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.mustBuild("ctx") // the change is too new to be remembered
	settle(t)
	first, _ := s.mustBuild("ctx")
	if again, log := s.mustBuild("ctx"); again != first || strings.Count(log, "CACHED") != 2 {
		t.Errorf("%s, and before %s\n%s", again, first, log)
	}
	if len(sums()) <= before {
		t.Errorf("nothing is remembered: %q", sums())
	}

	st, err := os.Stat(file)
	if err == nil {
		err = os.WriteFile(file, []byte("ONE\n"), 0o644)
	}
	if err == nil {
		err = os.Chtimes(file, st.ModTime(), st.ModTime())
	}
	if err != nil {
		t.Fatal(err)
	}
	s.mustBuild("-t", "changed", "ctx")
	if out, err := s.run("changed", "cat", "/file"); err != nil || out != "ONE\n" {
		t.Errorf("%v: %s", err, out)
	}

	// What is remembered is what counts: it is not read again.
	settle(t)
	s.mustBuild("ctx")
	digest := regexp.MustCompile("sha256:[0-9a-f]+")
	for _, name := range sums() {
		b, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(name, digest.ReplaceAll(b, []byte("sha256:"+strings.Repeat("0", 64))), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, log, err := s.build("ctx"); err == nil || !strings.Contains(log, "the sources changed while they were copied") {
		t.Errorf("%v\n%s", err, log)
	}
	s.mustBuild("-no-cache", "ctx")
}

// settle waits until what was written last has an age at which it is remembered.
func settle(t *testing.T) {
	t.Helper()
	written := time.Now()
	testenv.Eventually(t, "the files are old enough", func() bool { return time.Since(written) > settled+100*time.Millisecond })
}
