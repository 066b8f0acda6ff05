package reexec

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/sys"
)

// fakeTool makes a shell script.
func fakeTool(t testing.TB, name, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// timeUp is a context whose time is up when the function is called: no test
// depends on how fast a script gets to where it hangs.
func timeUp(t testing.TB) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	return ctx, func() { cancel(context.DeadlineExceeded) }
}

func TestRunTool(t *testing.T) {
	path := fakeTool(t, "tool", `echo "$# $1 $2"; echo unseen >&2`)
	if out, err := RunTool(t.Context(), path, "a b", "c"); err != nil || out != "2 a b c\n" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := RunTool(t.Context(), fakeTool(t, "tool", "head -c 600000 /dev/zero"), "x"); err != nil || len(out) != 600000 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	for name, c := range map[string]struct {
		script string
		want   []string
	}{
		"fails":             {"echo out; echo no, never >&2; exit 3", []string{"exit status 3: no, never"}},
		"is killed":         {"kill -9 $$", []string{"signal: killed"}},
		"prints too much":   {"head -c 2000000 /dev/zero", []string{"more than 1048576 bytes"}},
		"only the end said": {"head -c 200000 /dev/zero >&2; echo the end >&2; exit 1", []string{"exit status 1", "the end"}},
	} {
		path := fakeTool(t, "tool", c.script)
		out, err := RunTool(t.Context(), path)
		if err == nil || out != "" || !strings.HasPrefix(err.Error(), path+": ") || len(err.Error()) > 20000 {
			t.Errorf("%s: %q, %v", name, out, err)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %v, want %q", name, err, w)
			}
		}
	}
	missing := filepath.Join(t.TempDir(), "missing")
	if _, err := RunTool(t.Context(), missing); !errors.Is(err, os.ErrNotExist) || strings.Count(err.Error(), missing) != 1 {
		t.Errorf("missing: %v", err)
	}
}

// readPID waits until a script has written a pid to a file.
func readPID(t testing.TB, path string) (pid int) {
	t.Helper()
	eventually(t, path, func() bool {
		b, _ := os.ReadFile(path)
		var err error
		pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil && strings.HasSuffix(string(b), "\n")
	})
	return pid
}

// podman#4921, rootlesskit#551: newuidmap hangs, and who waits for it.
func TestHangingToolCannotHangItsCaller(t *testing.T) {
	for name, script := range map[string]string{
		"itself":                        `echo words >&2; echo $$ > "$1"; exec sleep 600`,
		"with a child":                  `echo words >&2; sleep 600 & echo $! > "$1"; wait`,
		"deaf":                          `trap "" INT TERM HUP; echo words >&2; echo $$ > "$1"; while :; do sleep 600; done`,
		"child of the ended one":        `echo words >&2; sleep 600 & echo $! > "$1"; exit 4`,
		"child of one that ended well":  `sleep 600 & echo $! > "$1"`,
		"child that left its own group": `echo words >&2; setsid sleep 600 & echo $! > "$1"; wait`,
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "pid")
			done := make(chan error, 1)
			ctx, end := timeUp(t)
			path := fakeTool(t, "tool", script)
			go func() {
				_, err := RunTool(ctx, path, file)
				done <- err
			}()
			pid := readPID(t, file)
			if !strings.HasPrefix(name, "child of") {
				end()
			}
			err := receive(t, "RunTool", done)
			switch name {
			case "child of one that ended well":
				if err != nil {
					t.Error(err)
				}
			case "child of the ended one":
				if err == nil || !strings.Contains(err.Error(), "exit status 4: words") {
					t.Error(err)
				}
			default:
				if !errors.Is(err, context.DeadlineExceeded) || !strings.HasPrefix(err.Error(), path+": killed") || !strings.HasSuffix(err.Error(), ": words") {
					t.Error(err)
				}
			}
			if name == "child that left its own group" {
				unix.Kill(pid, unix.SIGKILL) // it is beyond reach, and did not hold anything up
			}
			eventually(t, "it is gone", func() bool { return !alive(pid) })
		})
	}
}

// Who reaps everybody takes the tool's end away, not the answer in time.
func TestToolReapedByOthersCannotHangItsCaller(t *testing.T) {
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				unix.Wait4(-1, nil, unix.WNOHANG, nil)
			}
		}
	}()
	_, err := RunTool(t.Context(), fakeTool(t, "tool", "exit 0"))
	close(stop)
	<-stopped
	t.Log(err) // it may have been faster
}

func ownUserBy(uidTool, gidTool string) *Creation {
	c := ownUser()
	c.UIDMapTool, c.GIDMapTool = uidTool, gidTool
	return c
}

// The tools get the launcher's pid and the fields of the map, in the order that
// the kernel demands, and what they write is there.
func TestMapsAreWrittenByTools(t *testing.T) {
	needUserNS(t)
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	const script = `
		f=%s; pid=$1; shift
		echo "$f $* setgroups=$(cat /proc/$pid/setgroups) uids=$(wc -l < /proc/$pid/uid_map)" >> %s
		printf '%%s %%s %%s\n' "$@" > /proc/$pid/$f`
	c := ownUserBy(fakeTool(t, "newuidmap", fmt.Sprintf(script, "uid_map", log)), fakeTool(t, "newgidmap", fmt.Sprintf(script, "gid_map", log)))
	fs, err := create(t.Context(), c)
	sys.CloseFiles(fs)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(log)
	want := fmt.Sprintf("uid_map 0 %d 1 setgroups=deny uids=0\ngid_map 0 %d 1 setgroups=deny uids=1\n", os.Geteuid(), os.Getegid())
	if err != nil || string(got) != want {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

// A tool that fails, lies or hangs fails the launch, which leaves nothing.
func TestCreateErrorsOfTools(t *testing.T) {
	needUserNS(t)
	good := fakeTool(t, "good", `pid=$1; shift; echo "$@" > /proc/$pid/uid_map`)
	for name, tt := range map[string]struct {
		script string
		want   string
		is     error
	}{
		"fails":          {"echo not for you >&2; exit 1", ": exit status 1: not for you", nil},
		"writes none":    {"exit 0", "wrote nothing to ", nil},
		"hangs":          {"echo stuck >&2; : > $0.hangs; exec sleep 600", ": stuck", context.DeadlineExceeded},
		"child's stderr": {"echo stuck >&2; sleep 600 & : > $0.hangs; wait", ": stuck", context.DeadlineExceeded},
		"kills":          {"kill -9 $1; exit 1", ": exit status 1", nil},
	} {
		for op, tools := range map[string][2]string{
			"newuidmap": {fakeTool(t, "bad", tt.script), good},
			"newgidmap": {good, fakeTool(t, "bad", tt.script)},
		} {
			t.Run(name+" "+op, func(t *testing.T) {
				var pid int
				beforeMaps = func(p int) { pid = p }
				defer func() { beforeMaps = func(int) {} }()
				ctx, end := timeUp(t)
				watched := make(chan struct{})
				go func() {
					defer close(watched)
					poll(func() bool {
						for _, tool := range tools {
							if _, err := os.Stat(tool + ".hangs"); err == nil {
								end()
							}
						}
						return ctx.Err() != nil
					})
				}()
				fs, err := create(ctx, ownUserBy(tools[0], tools[1]))
				end()
				<-watched
				if fs != nil {
					sys.CloseFiles(fs)
					t.Error("files besides the error")
				}
				var le *LaunchError
				if !errors.As(err, &le) || le.Op != op || le.Type != unix.CLONE_NEWUSER || !strings.Contains(err.Error(), tt.want) || !strings.Contains(le.Step, "/bad "+strconv.Itoa(pid)+" 0 ") {
					t.Errorf("%+v", err)
				}
				if tt.is != nil && !errors.Is(err, tt.is) {
					t.Errorf("%v, want %v", err, tt.is)
				}
				if alive(pid) {
					t.Errorf("the launcher, %d, lives on", pid)
				}
			})
		}
	}
}
