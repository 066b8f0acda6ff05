package gonso_test

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func init() { testenv.Program("starts itself", startsItself) }

// startsItself runs itself as a worker and as a command, and prints what they are.
func startsItself() {
	if os.Getenv("GONSO_TEST_SECOND") != "" {
		fmt.Println("itself")
		return
	}
	os.Setenv("GONSO_TEST_SECOND", "1")
	s := new(gonso.Set)
	out, err := s.Self(context.Background()).CombinedOutput()
	fmt.Println(strings.TrimSpace(string(out)), err)
	os.Unsetenv(testenv.ProgramEnv)
	gonso.Init()
	pid, err := workerPID.Do(context.Background(), s, struct{}{}, gonso.InProcess())
	fmt.Println("worker", err == nil && pid != os.Getpid(), err)
}

const itselfTwice = "itself <nil>\nworker true <nil>\n"

// kubernetes/kubernetes#84539 and others: programs are started in strange ways.
func TestStrangeNameCannotKeepAProgramFromItself(t *testing.T) {
	testenv.Need(t, testenv.Process)
	for _, name := range []string{"", "/no/such", "-bash", "a\nb"} {
		c := testenv.Command(t, "starts itself")
		c.Args[0] = name
		if out, err := c.CombinedOutput(); err != nil || string(out) != itselfTwice {
			t.Errorf("%q: %v: %.2000s", name, err, out)
		}
	}
}

// A program that is started as the argument of a loader is not the loader, and what it starts is not either.
func TestLoaderCannotBeTakenForTheProgram(t *testing.T) {
	testenv.Need(t, testenv.Process)
	loader, err := interpreter("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if loader == "" {
		testenv.Found(t, "cgo", errors.New("it is static"))
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(loader, exe)
	c.Env = append(os.Environ(), testenv.ProgramEnv+"=starts itself")
	if out, err := c.CombinedOutput(); err != nil || string(out) != itselfTwice {
		t.Errorf("%v: %.2000s", err, out)
	}
}

// interpreter is the loader that a program names, or "".
func interpreter(path string) (string, error) {
	f, err := elf.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b, err := io.ReadAll(p.Open())
			return strings.TrimRight(string(b), "\x00"), err
		}
	}
	return "", nil
}

// Whatever cannot be passed on, errors name no path of /proc/self/fd, which means nothing to anybody.
func TestLargeEnvironmentIsNamed(t *testing.T) {
	testenv.Need(t, testenv.Process)
	for name, tt := range map[string]struct {
		env   []string
		words []string
	}{
		"one variable":   {[]string{"A=b", "LARGE=" + strings.Repeat("x", 1<<20)}, []string{`the variable "LARGE" has 1048582 bytes`}},
		"many variables": {manyVariables(), []string{"200 variables of", "bytes together"}},
	} {
		s := new(gonso.Set)
		t.Cleanup(func() { s.Close() })
		setWorker(t, s, gonso.Worker{Env: tt.env})
		_, err := workerPID.Do(t.Context(), s, struct{}{}, gonso.InProcess())
		if wrong := says(err, unix.E2BIG, append(tt.words, "gonso: call worker.pid: ", "argument list too long", "Env: ")...); wrong != nil {
			t.Errorf("%s: %v", name, wrong)
		}
		for _, s := range []*gonso.Set{s, newSet(t, gonso.User)} {
			c := s.Command(t.Context(), "/bin/true")
			c.Env = tt.env
			if wrong := says(c.Run(), unix.E2BIG, append(tt.words, "gonso: start: ", "Env: ", "exec /bin/true: argument list too long")...); wrong != nil {
				t.Errorf("%s of a command: %v", name, wrong)
			}
		}
	}
}

// Of thousands of arguments nobody can see which one was too long.
func TestLargeArgumentIsNamed(t *testing.T) {
	testenv.Need(t, testenv.Process)
	for name, tt := range map[string]struct{ args, words []string }{
		"one argument":   {[]string{"a", strings.Repeat("x", 1<<18)}, []string{"Args[2]: it has 262144 bytes, and no more than 131071"}},
		"many arguments": {manyVariables(), []string{"Args and Env: 201 arguments and ", "bytes together; a quarter"}},
	} {
		for _, s := range []*gonso.Set{newSet(t, gonso.User), new(gonso.Set)} {
			c := s.Command(t.Context(), "/bin/true", tt.args...)
			if wrong := says(c.Run(), unix.E2BIG, append(tt.words, "gonso: start: Args", "exec /bin/true: argument list too long")...); wrong != nil {
				t.Errorf("%s: %v", name, wrong)
			}
		}
	}
}

func manyVariables() (env []string) {
	for i := range 200 {
		env = append(env, fmt.Sprintf("A%d=%s", i, strings.Repeat("x", 100<<10)))
	}
	return env
}

// The environment of this program does for its worker, however it came to be.
func TestOddEnvironmentCanBePassedOn(t *testing.T) {
	testenv.Need(t, testenv.Process)
	odd := []string{"NAME", "A=1", "PATH=" + os.Getenv("PATH"), "A=2", "=C:=x"}
	s := new(gonso.Set)
	t.Cleanup(func() { s.Close() })
	setWorker(t, s, gonso.Worker{Env: odd})
	got := call(t, environ, s, struct{}{}, gonso.InProcess())
	for _, kv := range []string{"A=2", "=C:=x"} {
		if !strings.Contains(strings.Join(got, "\n")+"\n", kv+"\n") {
			t.Errorf("no %s in %q", kv, got)
		}
	}
	b, err := os.ReadFile(filepath.Join("/proc", fmt.Sprint(call(t, workerPID, s, struct{}{}, gonso.InProcess())), "environ"))
	if err != nil || !strings.Contains(string(b), "NAME\x00") || strings.Contains(string(b), "A=1\x00") {
		t.Errorf("%q, %v", b, err)
	}
}

// says tells what is wrong with an error that is to match another one and to say words.
func says(err, is error, words ...string) error {
	if !errors.Is(err, is) {
		return fmt.Errorf("%w does not match %w", err, is)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			return fmt.Errorf("%w does not say %q", err, w)
		}
	}
	return nil
}
