//go:build linux

package docs_test

import (
	"archive/tar"
	"archive/zip"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/gonso/gonso/internal/testenv"
)

const guide = "integration/docs/guide.md"

// task is a part of the guide: a program or a test, for a reader to copy.
type task struct {
	file    string // below integration/guide
	remark  string // who can run it
	program string // as the guide shows it
	output  string // as the guide shows it, "" if it does not
}

var taskPattern = regexp.MustCompile("(?m)^\\[guide/([\\w./]+)\\]\\(\\.\\./guide/([\\w./]+)\\)(.*)\n\n```go\n((?s:.*?))```\n(?:\nIt prints:\n\n```\n((?s:.*?))```\n)?")

func tasks(t *testing.T) (all []task) {
	t.Helper()
	for _, m := range taskPattern.FindAllStringSubmatch(document(t, guide), -1) {
		if m[1] != m[2] {
			t.Errorf("%s calls %s what is %s", guide, m[1], m[2])
		}
		all = append(all, task{m[1], m[3], m[4], m[5]})
	}
	return all
}

// source is what the guide shows of a program: all but the lines before package.
func source(t *testing.T, file string) string {
	t.Helper()
	text := document(t, "integration/guide/"+file)
	begin := strings.Index(text, "\npackage ")
	if begin < 0 {
		t.Fatalf("%s has no package line", file)
	}
	return text[begin+1:]
}

// GONSO_DOCS_UPDATE=1 cuts the programs out of their files again.
func TestGuideShowsItsProgramsAsTheyAre(t *testing.T) {
	all := tasks(t)
	if len(all) < 20 {
		t.Errorf("the guide has %d tasks only", len(all))
	}
	text := document(t, guide)
	for _, task := range all {
		want := source(t, task.file)
		if n := strings.Count(want, "\n"); n > 60 {
			t.Errorf("%s has %d lines: a reader cannot take in more than 60 at a glance", task.file, n)
		}
		if task.program == want {
			continue
		}
		if os.Getenv("GONSO_DOCS_UPDATE") == "" {
			t.Errorf("%s does not show %s as it is; GONSO_DOCS_UPDATE=1 makes it so", guide, task.file)
		}
		head := fmt.Sprintf("[guide/%s](../guide/%s)%s\n\n```go\n", task.file, task.file, task.remark)
		text = strings.Replace(text, head+task.program+"```\n", head+want+"```\n", 1)
	}
	if os.Getenv("GONSO_DOCS_UPDATE") != "" {
		if err := os.WriteFile(filepath.Join(root, guide), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}

	files, err := filepath.Glob(filepath.Join(root, "integration/guide/*/*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d programs, %v", len(files), err)
	}
	for _, file := range files {
		name, err := filepath.Rel(filepath.Join(root, "integration/guide"), file)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(slices.DeleteFunc(slices.Clone(all), func(t task) bool { return t.file != name })); n != 1 {
			t.Errorf("the guide shows %s %d times", name, n)
		}
	}
}

// taskNeeds are requirements of testenv.Found, by what a program prints that lacks them.
var taskNeeds = []struct{ what, printed string }{
	{"subids", "no subordinate ids"},
	{"subids", "newuidmap"},
	{"userns", "gonso: unshare"},
}

func TestGuideProgramsPrintWhatItSays(t *testing.T) {
	needGo(t)
	dir := openDir(t)
	numbers := make(map[string]int)
	var sources [][]byte
	for _, task := range tasks(t) {
		if name, ok := strings.CutSuffix(task.file, "/main.go"); ok {
			n := len(sources)
			numbers[name] = n
			text := strings.Replace(source(t, task.file), "package main\n", fmt.Sprintf("package program%d\n", n), 1)
			sources = append(sources, []byte(strings.Replace(text, "\nfunc main() {\n", "\nfunc Main() {\n", 1)))
		}
	}
	exe := bundle(t, dir, "docsguide", sources)
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", dir, "./guide/enter")
	build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0") // as the guide asks for
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	here := reader{dir: dir, exe: exe, numbers: numbers, uid: os.Geteuid(), gid: os.Getegid()}
	t.Run("as this user", here.runAll)
	if os.Geteuid() == 0 {
		t.Run("as a plain user", here.plain().runAll)
	}
}

// reader is who runs the guide's programs.
type reader struct {
	dir, tmp string
	exe      string         // has all programs
	numbers  map[string]int // by which it knows them
	uid, gid int
	attr     *syscall.SysProcAttr
}

// plain is the plain user of tests, who may have subordinate ids, or nobody.
func (r reader) plain() reader {
	name := os.Getenv("GONSO_TEST_USER")
	if name == "" {
		name = "gonsotest"
	}
	uid, gid := 65534, 65534
	if u, err := user.Lookup(name); err == nil {
		uid, _ = strconv.Atoi(u.Uid)
		gid, _ = strconv.Atoi(u.Gid)
	}
	r.uid, r.gid = uid, gid
	r.attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	return r
}

func (r reader) runAll(t *testing.T) {
	r.tmp = filepath.Join(r.dir, "tmp"+strconv.Itoa(r.uid))
	if err := os.Mkdir(r.tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(r.tmp, r.uid, r.gid); err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks(t) {
		name, file := filepath.Split(task.file)
		if file != "main.go" {
			continue // a test, which runs as such
		}
		t.Run(filepath.Clean(name), func(t *testing.T) { r.run(t, filepath.Clean(name), task) })
	}
	if left, err := os.ReadDir(r.tmp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func (r reader) command(t *testing.T, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.SysProcAttr = "/", r.attr
	cmd.Env = append(os.Environ(), "TMPDIR="+r.tmp, "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin")
	return cmd
}

func (r reader) run(t *testing.T, name string, task task) {
	if task.output == "" {
		t.Fatal("the guide does not say what it prints")
	}
	cmd := r.command(t, r.exe)
	cmd.Env = append(cmd.Env, numberEnv+"="+strconv.Itoa(r.numbers[name]))
	var out string
	var err error
	switch name {
	case "enter":
		cmd.Path = filepath.Join(r.dir, name)
		cmd.Args = append(cmd.Args, strconv.Itoa(r.container(t)))
		out, err = output(cmd)
	case "progress":
		out, err = interrupted(t, cmd)
	case "becomeroot":
		cmd.Args = append(cmd.Args, "and", "more")
		out, err = output(cmd)
	case "untar":
		dir := filepath.Join(r.tmp, "unpacked")
		if err := errors.Join(os.Mkdir(dir, 0o755), os.Chown(dir, r.uid, r.gid)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
		cmd.Args, cmd.Stdin = append(cmd.Args, dir), tarArchive(t)
		out, err = output(cmd)
		outside(t, r, filepath.Join(dir, "www-datas"), err == nil)
	case "untrusted":
		cmd.Stdin = zipArchive(t)
		out, err = output(cmd)
	case "sandbox":
		testenv.Need(t, testenv.Tool("busybox"))
		out, err = output(cmd)
	case "terminal":
		testenv.Need(t, testenv.Terminals)
		out, err = output(cmd)
	default:
		out, err = output(cmd)
	}
	if strings.Contains(task.remark, "needs root") && r.uid != 0 {
		if err == nil || !strings.Contains(out, "operation not permitted") {
			t.Errorf("a plain user is not refused: %v\n%s", err, out)
		}
		return
	}
	if !like(out, task.output) {
		for _, n := range taskNeeds {
			if strings.Contains(out, n.printed) {
				lacks(t, n.what, out)
			}
		}
		if strings.Contains(out, syscall.EOPNOTSUPP.Error()) { // a kernel without these devices or rules
			lacks(t, "netdevices", out)
		}
		t.Errorf("it prints\n%s\nand the guide says\n%s", out, task.output)
	}
	if err != nil {
		t.Error(err)
	}
}

// tarArchive has a file of root's and one of www-data's.
func tarArchive(t *testing.T) io.Reader {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, uid := range map[string]int{"roots": 0, "www-datas": 33} {
		if err := w.WriteHeader(&tar.Header{Name: name, Uid: uid, Gid: uid, Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}

// outside looks at a file from outside: its owner is neither the user nor www-data.
func outside(t *testing.T, r reader, file string, unpacked bool) {
	if !unpacked {
		return
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if uid := int(info.Sys().(*syscall.Stat_t).Uid); uid == r.uid || uid == 33 {
		t.Errorf("outside it belongs to %d", uid)
	}
}

func zipArchive(t *testing.T) io.Reader {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create("a.txt")
	if err == nil {
		_, err = io.WriteString(f, "content")
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return &b
}

func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// like compares lines; "..." is any number of them.
func like(got, want string) bool {
	before, after, some := strings.Cut(want, "...\n")
	if !some {
		return got == want
	}
	return len(got) >= len(before)+len(after) && strings.HasPrefix(got, before) && strings.HasSuffix(got, after)
}

// container starts a process in namespaces of its own, and returns its number.
func (r reader) container(t *testing.T) int {
	testenv.Need(t, testenv.UtilLinux("unshare"), testenv.Tool("hostname"))
	cmd := r.command(t, "unshare", "--user", "--map-root-user", "--mount", "--net", "--uts", "--ipc", "--",
		"sh", "-c", "hostname box && echo ready && exec sleep 600")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		cmd.Wait()
		lacks(t, "userns", fmt.Sprintf("%q, %v: %s", line, err, stderr.String()))
	}
	return cmd.Process.Pid
}

// interrupted runs a command as at a terminal, and types Ctrl-C after its third line.
func interrupted(t *testing.T, cmd *exec.Cmd) (string, error) {
	attr := syscall.SysProcAttr{}
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	attr.Setpgid = true
	cmd.SysProcAttr = &attr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	lines := bufio.NewReader(stdout)
	for range 3 {
		line, err := lines.ReadString('\n')
		out.WriteString(line)
		if err != nil {
			break
		}
	}
	if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Error(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil {
		t.Error(err)
	}
	out.Write(rest)
	return out.String(), cmd.Wait()
}
