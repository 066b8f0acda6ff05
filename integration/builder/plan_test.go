package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is wrong or unsupported is refused with file, line, and the reason, before anything runs.
func TestRefusals(t *testing.T) {
	for _, c := range []struct{ name, dockerfile, want string }{
		{"unknown instruction", "FROM scratch\nFETCH x", "D:2: unknown instruction: FETCH"},
		{"no FROM", "RUN x", "D:1: no build stage in current context"},
		{"nothing", "# only a comment\n", "D:1: file with no instructions"},
		{"COPY of the parent", "FROM scratch\n\nCOPY a ../b c/", "D:3: COPY: ../b leads outside of the build context"},
		{"ADD of the parent", "FROM scratch\nADD a/../../b c", "D:2: ADD: a/../../b leads outside of the build context"},
		{"ADD of a URL", "FROM scratch\nADD https://example.com/a /", "D:2: ADD: the URL https://example.com/a is not supported"},
		{"ADD from git", "FROM scratch\nADD git@example.com:a /", "D:2: ADD: the URL git@example.com:a is not supported"},
		{"ADD --checksum", "FROM scratch\nADD --checksum=sha256:" + strings.Repeat("0", 64) + " a /", "D:2: ADD: --checksum is not supported"},
		{"COPY --link", "FROM scratch\nCOPY --link a /", "D:2: COPY: --link is not supported"},
		{"COPY --parents", "FROM scratch\nCOPY --parents a /", "D:2: COPY: --parents is not supported"},
		{"COPY --exclude", "FROM scratch\nCOPY --exclude=b a /", "D:2: COPY: --exclude is not supported"},
		{"--chmod by letters", "FROM scratch\nCOPY --chmod=u+x a /", "D:2: COPY: --chmod=u+x is not supported: write an octal number"},
		{"--start-interval", "FROM scratch\nHEALTHCHECK --start-interval=1s CMD x", "D:2: HEALTHCHECK: --start-interval is not supported"},
		{"COPY from a later stage", "FROM scratch AS a\nCOPY --from=1 x /\nFROM scratch AS b", "D:2: COPY: --from=1: no stage before this one"},
		{"COPY from itself", "FROM scratch AS a\nCOPY --from=a x /", "D:2: COPY: --from=a: no stage before this one"},
		{"bind mount", "FROM scratch\nRUN --mount=type=bind,target=/a x", "D:2: RUN: --mount=type=bind is not supported"},
		{"secret", "FROM scratch\nRUN --mount=type=secret,id=a x", "D:2: RUN: --mount=type=secret is not supported"},
		{"ssh", "FROM scratch\nRUN --mount=type=ssh x", "D:2: RUN: --mount=type=ssh is not supported"},
		{"locked cache", "FROM scratch\nRUN --mount=type=cache,target=/a,sharing=locked x", "D:2: RUN: --mount=type=cache with sharing=locked is not supported"},
		{"cache of a stage", "FROM scratch\nRUN --mount=type=cache,target=/a,from=b x", "D:2: RUN: from or source of --mount=type=cache is not supported"},
		{"RUN --network", "FROM scratch\nRUN --network=host x", "D:2: RUN: --network is not supported"},
		{"RUN --security", "FROM scratch\nRUN --security=insecure x", "D:2: RUN: --security is not supported"},
		{"no heredoc in exec form", "FROM scratch\nRUN [\"a\", \"<<EOF\"]\nEOF", "D:3: unknown instruction: EOF"},
		{"platform", "FROM --platform=plan9/mips scratch", "D:1: FROM scratch: --platform=plan9/mips is not supported"},
		{"empty base", "ARG X\nFROM $X", "D:2: FROM $X: the name is empty"},
		{"ONBUILD COPY --from", "FROM scratch\nONBUILD COPY --from=a x /", "D:2: ONBUILD: ONBUILD COPY --from is not supported"},
		{"ONBUILD of what is unsupported", "FROM scratch\nONBUILD RUN --network=none x", "D:2: ONBUILD: ONBUILD RUN: --network is not supported"},
		{"heredoc without end", "FROM scratch\nRUN <<EOF\necho", "D:2: unterminated heredoc"},
		{"unknown flag", "FROM scratch\nCOPY --fast a b", "D:2: unknown flag: --fast"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := readPlan("D", strings.NewReader(c.dockerfile), "", nil)
			if err == nil || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%v, not %s", err, c.want)
			}
			var at *at
			if !errors.As(err, &at) {
				t.Errorf("%#v has no place", err)
			}
		})
	}
}

func TestArgumentsOfThePlan(t *testing.T) {
	const dockerfile = "ARG A=1\nFROM scratch AS one\nFROM one AS two\nCOPY --from=one a b\nFROM scratch"
	for _, c := range []struct {
		target string
		args   map[string]string
		want   string
		last   int
	}{
		{"", nil, "", 2},
		{"TWO", nil, "", 1},
		{"0", map[string]string{"A": "2"}, "", 0},
		{"three", nil, "--target three: D has no stage of that name", 0},
		{"", map[string]string{"B": "2"}, "--build-arg B: D has no ARG of that name", 0},
	} {
		p, last, err := readPlan("D", strings.NewReader(dockerfile), c.target, c.args)
		if c.want != "" {
			if err == nil || err.Error() != c.want {
				t.Errorf("%v, not %s", err, c.want)
			}
			continue
		}
		if err != nil || last.index != c.last {
			t.Errorf("%q: stage %v, %v", c.target, last, err)
		}
		if n := p.stages[1].needs; len(n) != 1 || n[0] != 0 {
			t.Errorf("two needs %v", n)
		}
	}
}

// All Dockerfiles of testdata can be read.
func TestDockerfilesAreRead(t *testing.T) {
	files, err := filepath.Glob("testdata/*/Dockerfile")
	if err != nil || len(files) < 16 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := readPlan(file, f, "", map[string]string{}); err != nil {
			t.Error(err)
		}
		f.Close()
	}
}
