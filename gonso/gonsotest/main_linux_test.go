package gonsotest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

// mainEnv has TestMain call Main, and TestOfMain do what it says.
const mainEnv = "GONSOTEST_MAIN"

// uidInside tells where a registered function runs.
var uidInside = gonso.Register("gonsotest.uid", func(context.Context, struct{}) ([2]int, error) {
	return [2]int{os.Getpid(), os.Getuid()}, nil
})

// plainly is this test binary as a plain user runs it, of the tests that are called so.
func plainly(t *testing.T, what, run string, flags ...string) *exec.Cmd {
	t.Helper()
	// By this link it is found also where directories on the way to it are closed to others.
	c := exec.Command("/proc/self/exe", append([]string{"-test.run=^" + run + "$", "-test.v"}, flags...)...)
	c.Env = append(os.Environ(), mainEnv+"="+what, "GONSO_TEST_REQUIRE=", "GOCOVERDIR=", "TMPDIR="+openDir(t))
	if os.Geteuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	return c
}

func plainID() int {
	if id := os.Geteuid(); id != 0 {
		return id
	}
	return 65534
}

// TestOfMain is no test of this package: it is what the tests of Main run.
func TestOfMain(t *testing.T) {
	what := os.Getenv(mainEnv)
	switch what {
	case "":
		return // it would pass vacuously, were it asked for by a test
	case "pass":
		insideOfMain(t)
	case "fail":
		t.Error("on purpose")
	case "panic":
		panic("on purpose")
	case "exit":
		os.Exit(7)
	case "kill":
		unix.Kill(os.Getpid(), unix.SIGKILL)
	case "wait":
		fmt.Printf("outside %d inside %d\n", os.Getppid(), os.Getpid())
		// Without cgo, the Go runtime takes select {} for a deadlock, and exits with 2.
		for {
			unix.Pause()
		}
	}
}

func insideOfMain(t *testing.T) {
	if os.Getuid() != 0 || os.Getegid() != 0 {
		t.Errorf("uid %d, gid %d", os.Getuid(), os.Getegid())
	}
	b, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("map %s end\n", strings.Join(strings.Fields(string(b)), " "))
	s := New(t, gonso.Net|gonso.Mount)
	Do(t, s, func() {
		l, err := net.Listen("tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if err := unix.Mount("none", "/mnt", "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
	})
	at, err := uidInside.Do(t.Context(), s, struct{}{}, gonso.InProcess())
	if err != nil || at[0] == os.Getpid() || at[1] != 0 {
		t.Errorf("a registered function: %v, %v", at, err)
	}
	if err := os.WriteFile(os.Getenv("GONSOTEST_FILE"), []byte("from inside"), 0o600); err != nil {
		t.Error(err)
	}
	in, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil || in != "typed\n" {
		t.Errorf("standard input: %q, %v", in, err)
	}
}

// openDir is a directory that everybody may write to.
func openDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // the one above is closed as well
		if err := os.Chmod(d, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPlainUsersTestsCannotLackRoot(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	dir := openDir(t)
	log, file := dir+"/log", dir+"/file"
	flags := []string{"-test.testlogfile=" + log}
	if testing.CoverMode() != "" {
		flags = append(flags, "-test.coverprofile="+dir+"/cover")
	}
	c := plainly(t, "pass", "TestOfMain", flags...)
	c.Env = append(c.Env, "GONSOTEST_FILE="+file)
	c.Stdin = strings.NewReader("typed\n")
	out, err := c.CombinedOutput()
	id := strconv.Itoa(plainID())
	if err != nil || !strings.Contains(string(out), "--- PASS: TestOfMain") || !strings.Contains(string(out), "map 0 "+id+" 1 end") {
		t.Errorf("%v\n%s", err, out)
	}
	// Outside it is the user's.
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil || int(st.Uid) != plainID() {
		t.Errorf("the file of uid %d, %v", st.Uid, err)
	}
	// By what is in this log the go command knows whether the result still holds.
	b, err := os.ReadFile(log)
	if err != nil || !strings.HasPrefix(string(b), "# test log\n") || !strings.Contains(string(b), "open /proc/self/uid_map\n") ||
		!strings.Contains(string(b), "getenv GONSOTEST_FILE\n") {
		t.Errorf("the log of the test is %q, %v", b, err)
	}
	if testing.CoverMode() != "" {
		if b, err := os.ReadFile(dir + "/cover"); err != nil || !strings.Contains(string(b), "gonsotest/main.go") {
			t.Errorf("coverage: %q, %v", b, err)
		}
	}
}

func TestMainCannotChangeHowARunEnds(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	testenv.Leaks(t)
	for _, tt := range []struct {
		what  string
		flags []string
		ends  string
		says  string
	}{
		{"fail", nil, "exit status 1", "--- FAIL: TestOfMain"},
		{"panic", nil, "exit status 2", "panic: on purpose"},
		{"exit", nil, "exit status 7", ""},
		{"kill", nil, "signal: killed", ""},
		{"wait", []string{"-test.timeout=100ms"}, "exit status 2", "panic: test timed out after 100ms"},
		{"pass", []string{"-test.list=TestOfM.*"}, "<nil>", "TestOfMain\n"},
		{"pass", []string{"-test.skip=Of"}, "<nil>", "testing: warning: no tests to run"},
		{"pass", []string{"-test.nonsense"}, "exit status 2", "flag provided but not defined: -test.nonsense"},
	} {
		out, err := plainly(t, tt.what, "TestOfMain", tt.flags...).CombinedOutput()
		if fmt.Sprint(err) != tt.ends || !strings.Contains(string(out), tt.says) {
			t.Errorf("%s %v: %v, want %s\n%s", tt.what, tt.flags, err, tt.ends, out)
		}
	}
}

// The go command sends SIGQUIT to a test that takes too long, and its user SIGINT.
func TestMainCannotKeepSignals(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process)
	for sig, ends := range map[syscall.Signal]string{
		unix.SIGINT: "signal: interrupt", unix.SIGTERM: "signal: terminated", unix.SIGKILL: "signal: killed",
		unix.SIGQUIT: "exit status 2", // with the stacks of all goroutines
	} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			if signal.Ignored(sig) {
				testenv.Found(t, "signals", fmt.Errorf("%v is", sig))
			}
			testenv.Leaks(t)
			c := plainly(t, "wait", "TestOfMain")
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			c.Stdout, c.Stderr = w, w
			err = c.Start()
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			var outside, inside int
			lines := bufio.NewScanner(r)
			for inside == 0 && lines.Scan() {
				fmt.Sscanf(lines.Text(), "outside %d inside %d", &outside, &inside)
			}
			if outside != c.Process.Pid || inside == 0 {
				t.Errorf("outside %d, inside %d; started was %d", outside, inside, c.Process.Pid)
			}
			if err := c.Process.Signal(sig); err != nil {
				t.Error(err)
			}
			hung := time.AfterFunc(time.Minute, func() {
				t.Errorf("they still run: %s%s", threadsOf(c.Process.Pid), threadsOf(inside))
				c.Process.Kill() // so the other one ends as well
			})
			defer hung.Stop()
			var rest strings.Builder
			for lines.Scan() { // to the end: nobody who has the pipe is left
				rest.WriteString(lines.Text() + "\n")
			}
			if err := c.Wait(); fmt.Sprint(err) != ends {
				t.Errorf("%v, want %s\n%s", err, ends, &rest)
			}
			if sig == unix.SIGQUIT && !strings.Contains(rest.String(), "insideOfMain") && !strings.Contains(rest.String(), "TestOfMain") {
				t.Errorf("no stacks: %s", &rest)
			}
		})
	}
}

// threadsOf says what the threads of a process wait for.
func threadsOf(pid int) string {
	var all strings.Builder
	for _, name := range []string{"status", "wchan", "syscall"} {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/%s", pid, name))
		for _, file := range files {
			content, err := os.ReadFile(file)
			fmt.Fprintf(&all, "%s: %s %v\n", file, content, err)
		}
	}
	return all.String()
}

func TestRootsTestsAreNotRunElsewhere(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Process)
	c := plainly(t, "wait", "TestOfMain", "-test.timeout=100ms")
	c.SysProcAttr = nil
	out, err := c.CombinedOutput()
	want := fmt.Sprintf("outside %d inside %d\n", os.Getpid(), c.Process.Pid)
	if fmt.Sprint(err) != "exit status 2" || !strings.Contains(string(out), want) {
		t.Errorf("%v, want %q in\n%s", err, want, out)
	}
}

// A run without user namespaces is no success that somebody would believe in, or the go command
// keep.
func TestMainCannotPassWithoutUserNamespaces(t *testing.T) {
	testenv.Need(t, testenv.UserNS, testenv.Process, testenv.Tool("sh"))
	testenv.Leaks(t)
	// Nobody is root in this one, and it has no room for more.
	ids := []gonso.IDMap{{ContainerID: 1000, HostID: uint32(plainID()), Size: 1}}
	gids := []gonso.IDMap{{ContainerID: 1000, HostID: uint32(plainGID()), Size: 1}}
	s, err := gonso.Unshare(gonso.User, gonso.IDMaps(ids, gids))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	log := openDir(t) + "/log"
	for _, tt := range []struct {
		promise string
		ends    string
		says    []string
	}{
		{"", "<nil>", []string{"skip: needs room for user namespaces: gonso: unshare user: ", "testing: warning: no tests to run"}},
		{"userns", "exit status 1", []string{"needs room for user namespaces, which GONSO_TEST_REQUIRE promises with userns: "}},
		{"tools,root", "exit status 1", []string{"needs room for user namespaces, which GONSO_TEST_REQUIRE promises with root: "}},
	} {
		c := s.Command(context.Background(), "sh", "-c", `echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"`, "sh",
			exe, "-test.run=^TestOfMain$", "-test.v", "-test.testlogfile="+log, "-test.bench=.")
		c.Env = append(os.Environ(), mainEnv+"=fail", "GONSO_TEST_REQUIRE="+tt.promise, "GOCOVERDIR=")
		out, err := c.CombinedOutput()
		if fmt.Sprint(err) != tt.ends || strings.Contains(string(out), "TestOfMain") {
			t.Errorf("promised %q: %v, want %s\n%s", tt.promise, err, tt.ends, out)
		}
		for _, says := range tt.says {
			if !strings.Contains(string(out), says) {
				t.Errorf("promised %q: want %q in\n%s", tt.promise, says, out)
			}
		}
		if _, err := os.Stat(log); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("promised %q: the go command would keep the result: %v", tt.promise, err)
		}
	}
}

func plainGID() int {
	if os.Geteuid() != 0 {
		return os.Getegid()
	}
	return 65534
}
