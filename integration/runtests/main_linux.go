// Command runtests runs the tests of the library and of the integration modules: for root as root
// and as a plain user, for anybody else as who they are. It does what go test -exec cannot: one
// binary for both users, promises to the tests, skips counted by reason, and an end that leaves
// nothing. integration/scripts/test.sh builds and starts it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

var (
	work    = flag.String("work", "", "the `folder` to work in, which is removed at the end")
	race    = flag.Bool("race", false, "build with the race detector")
	short   = flag.Bool("short", false, "testing.Short() is true")
	stress  = flag.Bool("stress", false, "only the tests that take long, at full length")
	verbose = flag.Bool("v", false, "print everything that the tests print")
	pattern = flag.String("run", "", "only tests that match `regexp`")
	count   = flag.Int("count", 1, "every test so many times")
	as      = flag.String("as", "", "`who`: root, plain or both (the default for root)")
	mode    = flag.String("mode", "", "a `name` for this way to build; only the lines of packages are printed")
	goarch  = flag.String("goarch", "", "build for another `architecture` that this kernel executes: the library's packages, without cgo")
	logFile = flag.String("log", "", "run nothing, report what the test binaries printed that wrote `file`")
)

var buildFlags []string

// modules are where go.mod files are, those below another after it.
var modules = []string{".", "integration", "integration/ports", "integration/builder"}

const usage = `usage: integration/scripts/test.sh [FLAG...] [PACKAGE...]

PACKAGE is as go list takes it, relative to the top of the library (./gonso) or of one of the
other modules (./integration/demo, ./integration/ports/mount); all packages if none is given.

environment:
  GONSO_TEST_USER      the plain user that root runs tests as (gonsotest; see setup.sh)
  GONSO_TEST_TIMEOUT   for one package, in seconds (600)
  CI                   if set, what a run is meant to have is promised to the tests even where it
                       is missing, so that they fail and do not skip

The tests get GONSO_TEST_REQUIRE, a comma separated list of what this run promises: a test that
lacks something promised fails, and one that lacks something else skips.

`

// runner is a user's run.
type runner struct {
	name string
	root bool
	env  []string            // instead of this process's, if not nil
	cred *syscall.Credential // as above
	top  string              // of the sources
}

// pkg is a package with tests, and its test binary.
type pkg struct{ path, dir, binary string }

func main() {
	flag.Usage = func() {
		fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Func("build", "one more `flag` for go test -c (any number of times)", func(f string) error {
		buildFlags = append(buildFlags, f)
		return nil
	})
	flag.Parse()
	if *logFile != "" {
		r := readLog(*logFile)
		os.Stdout.Write(r.failures)
		r.finish()
		return
	}
	syscall.Umask(0o022) // the plain user reads what is made here
	endWhenTold()
	total, err := runAll(flag.Args())
	leave()
	if err != nil {
		fmt.Fprintln(os.Stderr, "test.sh:", err)
		os.Exit(1)
	}
	if total.passed == 0 && total.failed == 0 && !total.nothing {
		fmt.Println("FAIL: no test was executed")
		total.failed = 1
	}
	total.finish()
	if total.failed > 0 {
		os.Exit(1)
	}
}

func runAll(patterns []string) (*report, error) {
	top, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	runners, err := users(top)
	if err != nil {
		return nil, err
	}
	total := new(report)
	packages, err := buildAll(top, patterns, total)
	if err != nil {
		return nil, err
	}
	if err := executes(packages); err != nil { // in CI too: no package could be installed for it
		fmt.Printf("# not for %s: %v\n", *goarch, err)
		total.nothing = true
		return total, nil
	}
	for _, u := range runners {
		if _, err := output(u.command("/", "/bin/sh", "-c", ":")); err != nil && *as == "" && os.Getenv("CI") == "" {
			fmt.Printf("# not as %s: %v\n", u.name, err)
			continue
		}
		if err := u.prepare(top); err != nil {
			return nil, err
		}
		promise := u.promise()
		if *mode == "" {
			fmt.Printf("# as %s (%s%s)\n", u.name, promise, map[bool]string{true: ", race detector"}[*race])
		}
		// One at a time, for the tests count descriptors, processes and threads.
		for _, p := range packages {
			r, err := u.run(p, filepath.Join(u.top, strings.TrimPrefix(p.dir, top)), promise)
			if err != nil {
				return nil, err
			}
			total.add(r)
		}
	}
	return total, nil
}

// executes says why test binaries for another architecture cannot run here.
func executes(packages []pkg) error {
	if *goarch == "" {
		return nil
	}
	_, err := output(exec.Command(packages[0].binary, "-test.list=^$"))
	if errors.Is(err, syscall.ENOEXEC) {
		return errors.New("this kernel does not execute it (CONFIG_IA32_EMULATION, ia32_emulation=)")
	}
	return nil // whatever else there is, the tests say
}

// users are those to run as.
func users(top string) ([]*runner, error) {
	if os.Geteuid() != 0 {
		me, err := user.Current()
		if err != nil {
			me = &user.User{Username: "uid " + strconv.Itoa(os.Geteuid())}
		}
		if *as != "" && *as != "plain" {
			return nil, fmt.Errorf("-as %s: only root can", *as)
		}
		return []*runner{{name: me.Username, top: top}}, nil
	}
	root := &runner{name: "root", root: true, top: top}
	plain := &runner{name: os.Getenv("GONSO_TEST_USER"), top: filepath.Join(*work, "src"), cred: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if plain.name == "" {
		plain.name = "gonsotest"
	}
	if u, err := user.Lookup(plain.name); err != nil {
		plain.name = "uid 65534" // setup.sh has said why
	} else {
		uid, _ := strconv.ParseUint(u.Uid, 10, 32)
		gid, _ := strconv.ParseUint(u.Gid, 10, 32)
		plain.cred = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	// A new login's worth of environment: nothing of root's leaks into the run.
	plain.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(*work, "home"), "SHELL=/bin/sh",
		"USER=" + plain.name, "LOGNAME=" + plain.name}
	switch *as {
	case "root":
		return []*runner{root}, nil
	case "plain":
		return []*runner{plain}, nil
	case "", "both":
		return []*runner{root, plain}, nil
	}
	return nil, fmt.Errorf("-as %s: neither root, plain nor both", *as)
}

// prepare copies the sources for another user: the checkout may lie below a folder that only root
// may enter.
func (u *runner) prepare(top string) error {
	if u.cred == nil {
		return nil
	}
	home := filepath.Join(*work, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		return err
	}
	if err := os.Chown(home, int(u.cred.Uid), int(u.cred.Gid)); err != nil {
		return err
	}
	entries, err := os.ReadDir(top)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join(top, e.Name()), filepath.Join(u.top, e.Name())
		switch {
		case e.Name() == ".git":
		case e.IsDir():
			err = os.CopyFS(to, os.DirFS(from))
		case e.Type().IsRegular():
			var b []byte
			if b, err = os.ReadFile(from); err == nil {
				err = os.WriteFile(to, b, 0o644)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// buildAll builds the test binaries: once, for all users.
func buildAll(top string, patterns []string, total *report) (packages []pkg, err error) {
	start := time.Now()
	of := make(map[string][]string)
next:
	for _, p := range patterns {
		for _, module := range slices.Backward(modules[1:]) { // the innermost first
			if inside, ok := strings.CutPrefix(p, "./"+module); ok && (inside == "" || inside[0] == '/') {
				of[module] = append(of[module], "."+inside)
				continue next
			}
		}
		of["."] = append(of["."], p)
	}
	for _, module := range modules {
		if len(patterns) == 0 && (*goarch == "" || module == ".") {
			of[module] = []string{"./..."}
		}
		if len(of[module]) == 0 {
			continue
		}
		list, err := goCommand(top, module, append([]string{"list", "-f",
			"{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}\t{{.Dir}}{{end}}"}, of[module]...)...)
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, list)
		}
		// go names a binary after its package's last element, so those of one name take turns.
		rounds := make(map[string][]string)
		seen := make(map[string]int)
		for line := range strings.Lines(string(list)) {
			name, dir, ok := strings.Cut(strings.TrimSpace(line), "\t")
			if !ok {
				continue
			}
			to := filepath.Join(*work, "bin", module+strconv.Itoa(seen[path.Base(name)])) + "/"
			seen[path.Base(name)]++
			rounds[to] = append(rounds[to], name)
			packages = append(packages, pkg{name, dir, to + path.Base(name) + ".test"})
		}
		for to, names := range rounds {
			if err := os.MkdirAll(to, 0o755); err != nil {
				return nil, err
			}
			args := append([]string{"test", "-c", "-vet=off", "-o", to}, buildFlags...)
			if *race {
				args = append(args, "-race")
			}
			if out, err := goCommand(top, module, append(args, names...)...); err != nil {
				os.Stdout.Write(out)
			}
		}
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("no package has tests")
	}
	if *mode == "" {
		fmt.Printf("# built %d test binaries%s in %.0f s\n", len(packages), strings.TrimSuffix(" for "+*goarch, " for "), time.Since(start).Seconds())
	}
	for _, p := range packages {
		if _, err := os.Stat(p.binary); err != nil {
			fmt.Printf("FAIL\t%s [build failed]\n", p.path)
			total.failed++
		}
	}
	return packages, nil
}

func goCommand(top, module string, args ...string) ([]byte, error) {
	c := exec.Command("go", args...)
	c.Dir, c.Env = filepath.Join(top, module), append(os.Environ(), "TMPDIR="+*work) // removed even if go is killed
	if *goarch != "" {
		c.Env = append(c.Env, "GOARCH="+*goarch, "CGO_ENABLED=0")
	}
	out, err := output(c)
	if err != nil {
		err = fmt.Errorf("go %s: %w", args[0], err)
	}
	return out, err
}

// promise says what the tests may rely on. In CI a missing thing is a failure, not a reason to
// promise less.
func (u *runner) promise() string {
	ci := os.Getenv("CI") != ""
	list := []string{"plain"}
	if u.root {
		list[0] = "root"
	}
	offer := func(what string, who, there bool) {
		if who && there {
			list = append(list, what)
		}
	}
	does := func(script string) bool {
		_, err := output(u.command("/", "/bin/sh", "-c", "PATH=$PATH:/usr/sbin:/sbin; "+script))
		return err == nil
	}
	offer("host", u.root, ci || does("grep -q ' 0 *0 *4294967295$' /proc/self/uid_map"))
	offer("userns", true, ci || does("unshare -U true"))
	offer("runc", u.root, ci || does("command -v runc"))
	offer("tools", *goarch == "", // those of the system are for another processor
		ci || does("for p in ip busybox newuidmap newgidmap runc umoci skopeo; do command -v $p || exit; done"))
	offer("pty", true, does("test -c /dev/ptmx && test -e /dev/pts/ptmx"))
	offer("cgroup2", u.root, does("cd /sys/fs/cgroup/unified || cd /sys/fs/cgroup; test -e cgroup.controllers && mkdir gonso-probe && rmdir gonso-probe"))
	offer("subids", !u.root, ci || does(`getsubids "$(id -un)"`))
	return strings.Join(list, ",")
}
