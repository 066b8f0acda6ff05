// Command upstream runs tests of other projects, before and after the ports take the place of the
// projects' own files. The modules come from the module proxy, and are changed in a temporary
// directory. The tests run as root, in net and mnt namespaces of their own.
//
// integration/scripts/ports.sh builds and starts it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
)

var (
	top   = flag.String("top", ".", "the `folder` of the library")
	lines = flag.Bool("lines", false, "only count lines of code")
)

// errAbsent says that the modules cannot be had.
var errAbsent = errors.New("the module proxy does not give the modules")

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, flag.Args())
	stop()
	switch {
	case errors.Is(err, errAbsent):
		fmt.Fprintf(os.Stderr, "ports: not run: %v\n", err)
		os.Exit(3)
	case err != nil:
		fmt.Fprintf(os.Stderr, "ports: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, names []string) (err error) {
	chosen, err := choose(names)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "gonso-ports-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	var total counts
	worse := 0
	for _, p := range chosen {
		dir, err := download(ctx, p.module)
		if err != nil {
			return err
		}
		here, err1 := p.linesHere(filepath.Join(*top, "integration/ports"))
		there, err2 := p.linesThere(dir)
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		fmt.Printf("%s: %d lines of code take the place of %d in %s\n", p.name, here, there, p.module)
		if *lines {
			continue
		}
		before, after, err := p.tests(ctx, dir, filepath.Join(work, p.name))
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		fmt.Printf("%s: before %v\n%s: after  %v\n", p.name, before, p.name, after)
		if before != after {
			worse++
		}
		total = total.plus(after)
	}
	if !*lines {
		fmt.Println(total)
	}
	if worse > 0 {
		return fmt.Errorf("%d projects' tests end otherwise with the port", worse)
	}
	return nil
}

func choose(names []string) (chosen []port, err error) {
	if len(names) == 0 {
		return ports, nil
	}
next:
	for _, name := range names {
		for _, p := range ports {
			if p.name == name {
				chosen = append(chosen, p)
				continue next
			}
		}
		return nil, fmt.Errorf("%s: there is no such port", name)
	}
	return chosen, nil
}

// download is where the module cache has a module.
func download(ctx context.Context, module string) (dir string, err error) {
	c := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	c.Dir = os.TempDir() // of no module
	out, err := c.Output()
	var m struct{ Dir, Error string }
	if json.Unmarshal(out, &m) != nil || m.Dir == "" {
		if m.Error == "" {
			return "", fmt.Errorf("%s: %w", module, err)
		}
		return "", fmt.Errorf("%w: %s", errAbsent, m.Error)
	}
	return m.Dir, nil
}

// tests runs a project's tests as they are, and with the port. The project is in dir.
func (p port) tests(ctx context.Context, dir, work string) (before, after counts, err error) {
	project := filepath.Join(work, "project")
	if err := os.MkdirAll(work, 0o755); err != nil {
		return before, after, err
	}
	if err := os.CopyFS(project, os.DirFS(dir)); err != nil {
		return before, after, err
	}
	if before, err = p.testsIn(ctx, project, filepath.Join(work, "before")); err != nil {
		return before, after, err
	}
	if err := p.replace(ctx, project); err != nil {
		return before, after, err
	}
	after, err = p.testsIn(ctx, project, filepath.Join(work, "after"))
	return before, after, err
}

// replace puts the port in the place of the project's files.
func (p port) replace(ctx context.Context, project string) error {
	module, _, _ := strings.Cut(p.module, "@")
	imports := []string{"github.com/gonso/gonso/integration/ports/cni/ns", module + "/pkg/ns"}
	for _, f := range p.replaced {
		if err := os.Remove(filepath.Join(project, f)); err != nil {
			return err
		}
	}
	for _, f := range p.files {
		b, err := os.ReadFile(filepath.Join(*top, "integration/ports", f.from))
		if err != nil {
			return err
		}
		text := strings.NewReplacer(imports...).Replace(string(b))
		if err := os.WriteFile(filepath.Join(project, f.to, path.Base(f.from)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if p.init != "" {
		text := fmt.Sprintf("package %s\n\nimport (\n\t\"os\"\n\t\"testing\"\n\n\t\"github.com/gonso/gonso/gonso\"\n)\n\n"+
			"func TestMain(m *testing.M) {\n\tgonso.Init()\n\tos.Exit(m.Run())\n}\n", path.Base(p.init))
		if err := os.WriteFile(filepath.Join(project, p.init, "gonso_main_linux_test.go"), []byte(text), 0o644); err != nil {
			return err
		}
	}
	library, err := filepath.Abs(*top)
	if err != nil {
		return err
	}
	_, err = goCommand(ctx, project, "mod", "edit", "-require=github.com/gonso/gonso@v0.0.0", "-replace=github.com/gonso/gonso="+library)
	return err
}

// unreachable finds what the go command says without a network.
var unreachable = regexp.MustCompile(`(?m)^.*(dial tcp|proxyconnect|no such host|i/o timeout|disabled by GOPROXY).*$`)

func goCommand(ctx context.Context, dir string, args ...string) ([]byte, error) {
	c := exec.CommandContext(ctx, "go", args...)
	c.Dir, c.Env = dir, append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	out, err := c.CombinedOutput()
	if err != nil {
		if line := unreachable.Find(out); line != nil {
			return out, fmt.Errorf("%w: %s", errAbsent, line)
		}
		err = fmt.Errorf("go %s: %w\n%s", args[0], err, out)
	}
	return out, err
}

// testsIn builds the tests, and runs them.
func (p port) testsIn(ctx context.Context, project, work string) (total counts, err error) {
	if err := os.MkdirAll(filepath.Join(work, "tmp"), 0o777); err != nil {
		return total, err
	}
	for i, pkg := range p.packages {
		test := filepath.Join(work, strconv.Itoa(i)+".test")
		if _, err := goCommand(ctx, project, "test", "-c", "-vet=off", "-o", test, "./"+pkg); err != nil {
			return total, err
		}
		out, err := inside(ctx, filepath.Join(project, pkg), work, test, append(p.flags, "-test.v")...)
		if ctx.Err() != nil {
			return total, ctx.Err()
		}
		c := count(out)
		total = total.plus(c)
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			return total, err
		}
		if err != nil || c.failed > 0 {
			fmt.Printf("%s: %s: %v\n%s", p.name, pkg, err, lastLines(out, 60))
		}
		if c == (counts{}) {
			return total, fmt.Errorf("%s: no test has ended", pkg)
		}
	}
	return total, nil
}

// inside runs a test binary where it does no harm, also with a port that is wrong: in net and mnt
// namespaces of its own, in which only work is to be written to, and what there is of kernel and
// devices.
func inside(ctx context.Context, dir, work, test string, args ...string) ([]byte, error) {
	s, err := gonso.Unshare(gonso.Net|gonso.Mount, gonso.LoopbackUp(), gonso.Propagation(gonso.PropagationPrivate))
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.Run(func() error { return readOnlyBut(work, "/proc", "/sys", "/dev") }); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	c := s.Command(ctx, test, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "TMPDIR="+work+"/tmp", "GOCACHE="+work+"/cache", "GOFLAGS=-mod=mod", "GOWORK=off", "GOPROXY=off")
	c.WaitDelay = time.Minute
	return c.CombinedOutput()
}

// readOnlyBut makes all mounts read-only but these, and mounts a /run that nobody else has.
func readOnlyBut(dirs ...string) error {
	read := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
	write := unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
	err := unix.Mount(dirs[0], dirs[0], "", unix.MS_BIND, "")
	if err == nil {
		err = unix.MountSetattr(unix.AT_FDCWD, "/", unix.AT_RECURSIVE, &read)
	}
	for _, d := range dirs {
		if err == nil {
			err = unix.MountSetattr(unix.AT_FDCWD, d, unix.AT_RECURSIVE, &write)
		}
	}
	if err == nil {
		err = unix.Mount("tmpfs", "/run", "tmpfs", 0, "")
	}
	return os.NewSyscallError("mount", err)
}

// counts are tests by how they have ended. Specs of Ginkgo count as well as the test that runs
// them.
type counts struct{ passed, failed, skipped int }

func (c counts) plus(d counts) counts {
	return counts{c.passed + d.passed, c.failed + d.failed, c.skipped + d.skipped}
}

func (c counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.passed, c.failed, c.skipped)
}

var (
	colours = regexp.MustCompile(`\x1b\[[0-9;]*m`)
	ended   = regexp.MustCompile(`(?m)^ *--- (PASS|FAIL|SKIP): `)
	specs   = regexp.MustCompile(`(\d+) Passed \| (\d+) Failed \| (\d+) Pending \| (\d+) Skipped`)
)

func count(out []byte) (c counts) {
	out = colours.ReplaceAll(out, nil)
	for _, m := range ended.FindAllSubmatch(out, -1) {
		switch string(m[1]) {
		case "PASS":
			c.passed++
		case "FAIL":
			c.failed++
		case "SKIP":
			c.skipped++
		}
	}
	for _, m := range specs.FindAllSubmatch(out, -1) {
		var n [4]int
		for i := range n {
			n[i], _ = strconv.Atoi(string(m[i+1]))
		}
		c = c.plus(counts{n[0], n[1], n[2] + n[3]})
	}
	return c
}

func lastLines(out []byte, n int) []byte {
	all := bytes.SplitAfter(out, []byte("\n"))
	return bytes.Join(all[max(0, len(all)-n):], nil)
}
