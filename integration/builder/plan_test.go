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
		{"signal", "FROM scratch\nSTOPSIGNAL SIGNOT", "D:2: STOPSIGNAL: SIGNOT is no signal: write a name"},
		{"signal 0", "FROM scratch\nSTOPSIGNAL 0", "D:2: STOPSIGNAL: 0 is no signal"},
		{"signal 65", "FROM scratch\nSTOPSIGNAL 65", "D:2: STOPSIGNAL: 65 is no signal"},
		{"negative signal", "FROM scratch\nSTOPSIGNAL -9", "D:2: STOPSIGNAL: -9 is no signal"},
		{"port by name", "FROM scratch\nEXPOSE 80 http", "D:2: EXPOSE: http is no port: write 80"},
		{"port too high", "FROM scratch\nEXPOSE 99999", "D:2: EXPOSE: 99999 is no port"},
		{"ports backwards", "FROM scratch\nEXPOSE \"20-10\"", "D:2: EXPOSE: 20-10 is no port"},
		{"port of the host", "FROM scratch\nEXPOSE 80:80", "D:2: EXPOSE: 80:80 is no port"},
		{"protocol", "FROM scratch\nEXPOSE 80/ip", "D:2: EXPOSE: 80/ip is no port"},
		{"no command", "FROM scratch\nRUN []", "D:2: RUN: there is no command"},
		{"no program", "FROM scratch\nRUN [\"\"]", "D:2: RUN: there is no command"},
		{"heredoc along with files", "FROM scratch\nCOPY a <<EOF /b/\nEOF", "D:2: COPY: a heredoc along with files is not supported"},
		{"heredoc along with --from", "FROM scratch\nCOPY --from=a <<EOF /b/\nEOF", "D:2: COPY: a heredoc along with --from is not supported"},
		{"several sources of COPY", "FROM scratch\nCOPY a b /c", "D:2: COPY: with several sources /c has to end with /"},
		{"several sources of ADD", "FROM scratch\nADD a b \"/c\"", "D:2: ADD: with several sources /c has to end with /"},
		{"several sources from a stage", "FROM scratch AS x\nFROM scratch\nCOPY --from=x a b /c", "D:3: COPY: with several sources /c has to end with /"},
		{"several heredocs", "FROM scratch\nCOPY <<A <<B /c\nA\nB", "D:2: COPY: with several sources /c has to end with /"},
		{"three ids", "FROM scratch\nCOPY --chown=1:2:3 a /", "D:2: COPY: --chown=1:2:3 is no user: write USER or USER:GROUP"},
		{"three ids of ADD", "FROM scratch\nADD --chown=\"1:2:3\" a /", "D:2: ADD: --chown=1:2:3 is no user"},
		{"three ids of USER", "FROM scratch\nUSER 1:2:3", "D:2: USER: 1:2:3 is no user"},
		{"ONBUILD of what is wrong", "FROM scratch\nONBUILD STOPSIGNAL SIGNOT", "D:2: ONBUILD: ONBUILD STOPSIGNAL: SIGNOT is no signal"},
		{"a long line", "FROM scratch\n\nLABEL a=" + strings.Repeat("x", 1<<16), "D:3: a line longer than 65535 bytes is not supported"},
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

// What quotes and variables mean is not guessed.
func TestPlanRefusesNoWordsThatItDoesNotKnow(t *testing.T) {
	for _, text := range []string{
		"STOPSIGNAL \"SIGTERM\"", "STOPSIGNAL SIG$S", "EXPOSE $P", "EXPOSE \"80\"", "COPY a b \"/d/\"", "COPY a b $D", "COPY a b .", "COPY a b /d/..",
		"COPY --chown=${U:-1:2} a /", "COPY --chmod=\"755\" a /", "COPY --chmod=$M a /", "USER ${U:-1:2}", "COPY a* /d", "COPY <<A <<B /c/\nA\nB",
		"LABEL a=" + strings.Repeat("x", 1<<16-9),
	} {
		if _, _, err := readPlan("D", strings.NewReader("FROM scratch\n"+text), "", nil); err != nil {
			t.Error(err)
		}
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
