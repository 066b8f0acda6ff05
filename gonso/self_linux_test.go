package gonso_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	mobyreexec "github.com/moby/sys/reexec"
	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func init() {
	testenv.Program("job", job)
	testenv.Program("self", runsItself)
	testenv.Program("inside self", insideSelf)
	testenv.Program("self in a loop", func() {
		new(gonso.Set).Self(context.Background()).RunAndExit()
	})
}

// job is a shell as far as a terminal is concerned: it has a job in the foreground.
func job() {
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), testenv.ProgramEnv+"=self")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Foreground: true, Ctty: 0}
	err := c.Run()
	signal.Ignore(unix.SIGTTOU) // it is in the background now
	fmt.Printf("ended: %v\n", err)
}

// runsItself runs what its arguments name inside.
func runsItself() {
	s := new(gonso.Set)
	if types, err := strconv.Atoi(os.Args[2]); err != nil {
		print(nil, err)
	} else if types != 0 {
		if s, err = gonso.Unshare(gonso.Type(types)); err != nil {
			print(nil, err)
		}
	}
	c := s.Self(context.Background(), os.Args[1:]...)
	os.Setenv(testenv.ProgramEnv, "inside self")
	fmt.Printf("outside %d\n", os.Getpid())
	c.RunAndExit()
}

func insideSelf() {
	gonso.Init()
	signals := make(chan os.Signal, 10)
	what := os.Args[1]
	if what == "count" {
		signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGWINCH, unix.SIGUSR1)
	}
	at, err := os.Readlink("/proc/self")
	if err != nil {
		print(nil, err)
	}
	_, err = unix.IoctlGetTermios(0, unix.TCGETS)
	tty, terr := os.Open("/dev/tty")
	fmt.Printf("inside %s uid %d tty %v\n", at, os.Getuid(), err == nil && terr == nil)
	if terr == nil {
		tty.Close()
	}
	switch what {
	case "exit":
		os.Exit(7)
	case "stay": // when the terminal hangs up, which is when the job is gone
		signal.Ignore(unix.SIGHUP)
		fmt.Println("stays")
	case "alarm": // Go programs ignore it
		print(nil, unix.Exec("/bin/sh", []string{"sh", "-c", "kill -ALRM $$"}, os.Environ()))
	case "abort":
		unix.Kill(os.Getpid(), unix.SIGKILL)
	}
	if what != "count" {
		<-time.After(time.Minute) // and not for nothing, which the runtime takes for a deadlock
	}
	count := make(map[os.Signal]int)
	for sig := range signals {
		count[sig]++
		fmt.Printf("got %v %d\n", sig, count[sig])
		if sig == unix.SIGTERM {
			os.Exit(3)
		}
	}
}

// terminal is a pty, and what came out of it so far.
type terminal struct {
	t   *testing.T
	pty *os.File
	mu  sync.Mutex
	out bytes.Buffer
}

func newTerminal(t *testing.T) (*terminal, *os.File) {
	t.Helper()
	pty, tty := testenv.Terminal(t)
	term := &terminal{t: t, pty: pty}
	go func() {
		b := make([]byte, 1024)
		for {
			n, err := pty.Read(b)
			term.mu.Lock()
			term.out.Write(b[:n])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return term, tty
}

func (term *terminal) printed() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.out.String()
}

// want waits for what is printed, and returns the word after it.
func (term *terminal) want(what string) string {
	term.t.Helper()
	var after string
	ok := testenv.Poll(func() bool {
		_, rest, found := strings.Cut(term.printed(), what)
		line, _, ended := strings.Cut(rest, "\n")
		after = strings.TrimSpace(line)
		return found && ended
	})
	if !ok {
		term.t.Fatalf("%q did not come; there is\n%s", what, term.printed())
	}
	word, _, _ := strings.Cut(after, " ")
	return word
}

func stateOf(pid string) string {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return err.Error()
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return rest[:1]
}

// A program that runs itself inside is one program to its user: at the terminal,
// to who signals it, and to who waits for it.
func TestRunAndExitIsOneProgram(t *testing.T) {
	testenv.Need(t, testenv.Process)
	kinds := map[string]gonso.Type{"zero": 0}
	if testenv.Has(testenv.UserNS) {
		kinds["user+pid+mnt"] = gonso.User | gonso.PID | gonso.Mount
	}
	for kind, types := range kinds {
		for _, tt := range []struct {
			what, name string
			do         func(t *testing.T, term *terminal, outside, inside string)
			ended      string
		}{
			{"exit", "exit status", func(*testing.T, *terminal, string, string) {}, "exit status 7"},
			{"abort", "killed", func(*testing.T, *terminal, string, string) {}, "signal: killed"},
			{"wait", "^C", func(_ *testing.T, term *terminal, _, _ string) { io.WriteString(term.pty, "\x03") }, "signal: interrupt"},
			{"wait", "SIGTERM", func(t *testing.T, _ *terminal, outside, _ string) { kill(t, outside, unix.SIGTERM) }, "signal: terminated"},
			{"stay", "SIGKILL", func(t *testing.T, term *terminal, outside, inside string) {
				term.want("stays")
				kill(t, outside, unix.SIGKILL)
				testenv.Eventually(t, "the command is gone", func() bool {
					state := stateOf(inside)
					return len(state) > 1 || state == "Z" || state == "X"
				})
			}, "signal: killed"},
			{"alarm", "another signal", func(*testing.T, *terminal, string, string) {}, "exit status 142"},
			{"count", "handled", func(t *testing.T, term *terminal, outside, _ string) {
				passes(t, term, outside)
				io.WriteString(term.pty, "\x03")
				term.want("got interrupt 1")
				kill(t, outside, unix.SIGUSR1)
				term.want("got user defined signal 1 1")
				kill(t, outside, unix.SIGTERM)
				term.want("got terminated 1")
				if strings.Contains(term.printed(), "got interrupt 2") {
					t.Error("^C came twice")
				}
			}, "exit status 3"},
			{"count", "SIGINT by kill", func(t *testing.T, term *terminal, outside, _ string) {
				for i := range 3 {
					kill(t, outside, unix.SIGINT)
					term.want("got interrupt " + strconv.Itoa(i+1))
				}
				kill(t, outside, unix.SIGTERM)
			}, "exit status 3"},
			{"count", "typed and alone", func(t *testing.T, term *terminal, outside, _ string) {
				inTurn(t, term, outside, unix.SIGINT, func() { io.WriteString(term.pty, "\x03") })
			}, "exit status 3"},
			{"count", "the group and alone", func(t *testing.T, term *terminal, outside, _ string) {
				inTurn(t, term, outside, unix.SIGUSR1, func() { kill(t, "-"+outside, unix.SIGUSR1) })
			}, "exit status 3"},
			{"count", "^Z", func(t *testing.T, term *terminal, outside, inside string) {
				for range 3 {
					io.WriteString(term.pty, "\x1a")
					testenv.Eventually(t, "both are stopped", func() bool { return stateOf(outside) == "T" && stateOf(inside) == "T" })
					kill(t, outside, unix.SIGCONT)
					testenv.Eventually(t, "both go on", func() bool { return stateOf(outside) != "T" && stateOf(inside) != "T" })
				}
				kill(t, outside, unix.SIGTERM)
			}, "exit status 3"},
		} {
			t.Run(kind+"/"+tt.name, func(t *testing.T) {
				testenv.Leaks(t)
				term, tty := newTerminal(t)
				c := testenv.Command(t, "job", tt.what, strconv.Itoa(int(types)))
				c.Stdin, c.Stdout, c.Stderr = tty, tty, tty
				c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
				err := c.Start()
				tty.Close()
				if err != nil {
					t.Fatal(err)
				}
				defer func() {
					term.pty.Close() // hangs up on who is left
					c.Process.Kill()
					c.Wait()
				}()
				outside, inside := term.want("outside "), term.want("inside ")
				if is := term.want("tty "); is != "true" {
					t.Errorf("terminal: %s", is)
				}
				if uid := term.want("uid "); types != 0 && uid != "0" {
					t.Errorf("uid %s inside", uid)
				}
				tt.do(t, term, outside, inside)
				term.want("ended: " + tt.ended)
			})
		}
	}
}

func kill(t *testing.T, pid string, sig syscall.Signal) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err == nil {
		err = unix.Kill(n, sig)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// passes waits until RunAndExit passes signals on. A signal that comes earlier is passed on even if
// the command has got it itself.
func passes(t *testing.T, term *terminal, outside string) {
	t.Helper()
	kill(t, outside, unix.SIGWINCH)
	term.want("got " + unix.SIGWINCH.String() + " 1")
}

// inTurn has a signal sent to the group and to RunAndExit's process alone: the
// command counts each once.
func inTurn(t *testing.T, term *terminal, outside string, sig unix.Signal, group func()) {
	t.Helper()
	passes(t, term, outside)
	got := "got " + sig.String() + " "
	for i := range 3 {
		before := witness(t, outside)
		group()
		term.want(got + strconv.Itoa(2*i+1))
		replaced(t, outside, before)
		kill(t, outside, sig)
		term.want(got + strconv.Itoa(2*i+2))
	}
	kill(t, outside, unix.SIGTERM)
	term.want("got terminated 1")
	if strings.Contains(term.printed(), got+"7") {
		t.Errorf("one came twice:\n%s", term.printed())
	}
}

// witness is the process that tells RunAndExit what its group got.
func witness(t *testing.T, outside string) (pid int) {
	t.Helper()
	parent, err := strconv.Atoi(outside)
	if err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "there is one witness", func() bool {
		pids := testenv.ChildrenNamed(parent, "gonso-witness")
		if len(pids) == 1 {
			pid = pids[0]
		}
		return len(pids) == 1
	})
	return pid
}

// replaced waits until what the group got was dealt with: a signal that is sent
// again before that is one with it for the kernel.
func replaced(t *testing.T, outside string, before int) {
	t.Helper()
	testenv.Eventually(t, "there is another witness", func() bool { return witness(t, outside) != before })
}

// Setctty gives a program in a session of its own its terminal.
func TestCommandTerminal(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.Tool("awk"))
	sets := map[string]*gonso.Set{"zero": {}}
	if testenv.Has(testenv.UserNS) {
		s, err := gonso.Unshare(gonso.User | gonso.PID | gonso.Mount)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		sets["user+pid+mnt"] = s
	}
	for name, s := range sets {
		t.Run(name, func(t *testing.T) {
			testenv.Leaks(t)
			term, tty := newTerminal(t)
			defer term.pty.Close()
			// Its process group, session, terminal, and whether it is in the foreground there.
			c := s.Command(context.Background(), "awk", `{ print ($5==$1), ($6==$1), ($7!=0), ($8==$5) >"/dev/tty" }`, "/proc/self/stat")
			c.ExtraFiles = []*os.File{tty}
			c.Setsid, c.Setctty, c.Ctty = true, true, 3
			var out bytes.Buffer
			c.Stderr = &out
			err := c.Run()
			tty.Close()
			if err != nil {
				t.Fatalf("%v: %s", err, &out)
			}
			term.want("1 1 1 1")
		})
	}
}

// A program that always runs itself does so once.
func TestSelfCannotLoop(t *testing.T) {
	testenv.Need(t, testenv.Process)
	c := testenv.Command(t, "self in a loop")
	out, err := c.CombinedOutput()
	var ee *exec.ExitError
	if !errors.As(err, &ee) || ee.ExitCode() != 125 || strings.Count(string(out), "itself started by Self") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
}

const fromInitializer = "gonso-test-self-from-an-initializer"

var selfFromFunction = gonso.Register("test.self", func(ctx context.Context, _ struct{}) (string, error) { return itsMain(ctx) })

func init() {
	testenv.Program("says main", func() {
		gonso.Init()
		fmt.Print("main")
	})
	mobyreexec.Register(fromInitializer, func() {
		if os.Getenv(testenv.ProgramEnv) != "" {
			fmt.Print("the initializer again")
			return
		}
		fmt.Print(itsMain(context.Background()))
	})
}

// itsMain is what main of this program prints if Self runs it.
func itsMain(ctx context.Context) (string, error) {
	c := new(gonso.Set).Self(ctx)
	c.Env = append(os.Environ(), testenv.ProgramEnv+"=says main")
	out, err := c.CombinedOutput()
	return string(out), err
}

// A worker, and a process that is an initializer, runs the program's main by Self, and not another worker.
func TestSelfCannotBeWhatItsCallerIs(t *testing.T) {
	testenv.Need(t, testenv.Process)
	testenv.Leaks(t)
	s := new(gonso.Set)
	defer s.Close()
	for name, opt := range map[string]gonso.DoOption{"thread": gonso.InThread(), "worker": gonso.InProcess(), "isolated": gonso.Isolated()} {
		if out, err := selfFromFunction.Do(t.Context(), s, struct{}{}, opt); err != nil || out != "main" {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
	c := exec.Command("/proc/self/exe")
	c.Args[0] = fromInitializer
	if out, err := c.CombinedOutput(); err != nil || string(out) != "main<nil>" {
		t.Errorf("initializer: %q, %v", out, err)
	}
}

func init() {
	testenv.Program("cannot start", func() {
		s, what := new(gonso.Set), os.Args[1]
		c := s.Command(context.Background(), "true")
		switch what {
		case "Dir":
			c.Dir = os.Args[2]
		case "Chroot":
			c.Chroot = os.Args[2]
		case "Credential":
			c.Credential = &gonso.Credential{UID: 0}
		case "Path":
			c.Path = os.Args[2]
		case "Exe":
			f, err := os.Open(os.Args[2])
			if err != nil {
				print(nil, err)
			}
			c.Exe = f
		case "closed":
			s.Close()
		}
		c.RunAndExit()
	})
}

// Only the program's own file gives 126 and 127, so that the caller can tell them from other mistakes.
func TestStatusOfRunAndExitCannotBlameTheProgramForItsPlace(t *testing.T) {
	testenv.Need(t, testenv.Process)
	dir := t.TempDir()
	for name, content := range map[string]string{"text": "text", "format": "\x7fELF", "lacks": "#!/no/such\n"} {
		mode := os.FileMode(0o755)
		if name == "text" {
			mode = 0o644
		}
		if err := os.WriteFile(dir+"/"+name, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	type start struct {
		what, with string
		status     int
	}
	starts := []start{
		{"Dir", dir + "/no", 125}, {"Dir", dir + "/text", 125}, {"Chroot", dir + "/no", 125}, {"closed", "", 125},
		{"Path", dir + "/no", 127}, {"Path", "gonso-no-such-program", 127}, {"Path", dir + "/lacks", 127},
		{"Path", dir + "/text", 126}, {"Path", dir + "/format", 126}, {"Path", dir, 126}, {"Path", dir + "/text/below", 126},
		{"Exe", dir + "/text", 126},
	}
	if os.Getuid() != 0 {
		if err := os.Mkdir(dir+"/locked", 0); err != nil {
			t.Fatal(err)
		}
		starts = append(starts, start{"Dir", dir + "/locked", 125}, start{"Credential", "", 125}, start{"Path", dir + "/locked/x", 126})
	}
	for _, tt := range starts {
		out, err := testenv.Command(t, "cannot start", tt.what, tt.with).CombinedOutput()
		var ee *exec.ExitError
		if !errors.As(err, &ee) || ee.ExitCode() != tt.status {
			t.Errorf("%s %q: %v, and not %d: %s", tt.what, tt.with, err, tt.status, out)
		}
	}
}
