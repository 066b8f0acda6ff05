package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// onTerminal runs a command with a terminal as its standard error, and returns what it printed there.
func onTerminal(t *testing.T, c *exec.Cmd, rows, cols uint16) (string, error) {
	t.Helper()
	pty, tty := testenv.Terminal(t)
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		t.Fatal(err)
	}
	c.Stderr = tty
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	tty.Close()
	var out bytes.Buffer
	_, _ = out.ReadFrom(pty) // EIO once nobody has the terminal open
	return out.String(), c.Wait()
}

var up = regexp.MustCompile(`^\x1b\[(\d+)A\x1b\[J`)

// screen is what a terminal shows in the end, and all lines that it has shown.
func screen(t *testing.T, out string) (lines, ever []string) {
	t.Helper()
	line := ""
	for out != "" { // in characters
		if m := up.FindStringSubmatch(out); m != nil {
			n, _ := strconv.Atoi(m[1])
			lines, line, out = lines[:max(0, len(lines)-n)], "", out[len(m[0]):]
			continue
		}
		c, n := utf8.DecodeRuneInString(out)
		switch c {
		case '\n':
			lines, ever, line = append(lines, line), append(ever, line), ""
		case '\r':
		case 0x1b:
			t.Fatalf("an escape sequence that is not the display's: %.20q", out)
		default:
			line += string(c)
		}
		out = out[n:]
	}
	return lines, ever
}

func TestProgressOnATerminal(t *testing.T) {
	s := newSite(t).withBase()
	long := strings.Repeat("long ", 40) + "end"
	s.files("ctx", map[string]string{"Dockerfile": "FROM base\nRUN printf 'to be \\033[31mseen\\n'; sleep 0.5; echo " + long + "\nRUN echo 2\nLABEL a=b\n"})
	build := func(args ...string) (lines, ever []string) {
		t.Helper()
		out, err := onTerminal(t, s.command(append([]string{"build", "-cache", s.cache}, append(args, "ctx")...)...), 24, 60)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return screen(t, out)
	}
	step := func(lines []string, how, name string) {
		t.Helper()
		is := regexp.MustCompile(`^ *` + how + ` ` + regexp.QuoteMeta(name))
		n := 0
		for _, l := range lines {
			if is.MatchString(l) {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d times %s:\n%s", n, name, strings.Join(lines, "\n"))
		}
	}
	lines, ever := build()
	step(lines, `\d+\.\ds`, "[stage-0] FROM base")
	step(lines, `\d+\.\ds`, "[stage-0 1/3] RUN printf 'to be \\033[31mseen\\n'; sleep 0.5; echo "+long)
	step(lines, `\d+\.\ds`, "[stage-0 2/3] RUN echo 2")
	short := func(l string) bool {
		return strings.Contains(l, "[stage-0 1/3] RUN printf") && strings.HasSuffix(l, "…") && utf8.RuneCountInString(l) == 60
	}
	if !slices.ContainsFunc(ever, short) {
		t.Errorf("while it runs a step has one line: %q", ever)
	}
	seen := func(l string) bool {
		return strings.HasPrefix(l, "         | ") && strings.Contains(l, "to be ·[31mseen")
	}
	if !slices.ContainsFunc(ever, seen) || slices.ContainsFunc(lines, seen) {
		t.Errorf("what a step prints is to be shown while it runs:\n%s", strings.Join(lines, "\n"))
	}
	lines, _ = build("-progress", "tty")
	step(lines, "CACHED", "[stage-0 1/3] RUN printf")

	plain, ever := build("-progress", "plain")
	if !slices.Equal(plain, ever) || !slices.Contains(plain, "#2 CACHED") {
		t.Errorf("plain:\n%s", strings.Join(ever, "\n"))
	}

	s.files("bad", map[string]string{"Dockerfile": "FROM base\nRUN echo what it said; exit 7\n"})
	out, err := onTerminal(t, s.command("build", "-cache", s.cache, "bad"), 24, 60)
	if err == nil {
		t.Error("it does not fail")
	}
	lines, _ = screen(t, out)
	step(lines[:max(0, len(lines)-1)], "ERROR", "[stage-0 1/1] RUN echo what it said")
	if text := strings.Join(lines, "\n"); !strings.Contains(text, "\n------ [stage-0 1/1] RUN") || !regexp.MustCompile(`\n\d\.\d+ what it said\n`).MatchString(text) {
		t.Errorf("what a step printed that failed is to be there:\n%s", text)
	}

	_, log, err := s.build("-progress", "tty", "ctx")
	if err == nil || !strings.Contains(log, "--progress=tty: standard error is no terminal") {
		t.Errorf("%v: %s", err, log)
	}
	if _, log, err := s.build("-progress", "fancy", "ctx"); err == nil || !strings.Contains(log, fmt.Sprintf("--progress=%s: it is plain, tty or auto", "fancy")) {
		t.Errorf("%v: %s", err, log)
	}
	// A terminal that has no size, as of a serial line, gets lines.
	if out, err := onTerminal(t, s.command("build", "-cache", s.cache, "ctx"), 0, 0); err != nil || !strings.Contains(out, "#2 CACHED") {
		t.Errorf("%v: %s", err, out)
	}
}
