//go:build linux

package launcher

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/testenv"
)

// emulators are programs of qemu-user, by GOARCH: those of a name of their own there.
var emulators = map[string]string{"amd64": "x86_64", "arm64": "aarch64", "loong64": "loongarch64", "mips64le": "mips64el"}

// emulatedList has what differs between architectures: all arguments, errors, a child, the
// arguments of the launcher.
func emulatedList(dir string) *List {
	l := new(List)
	l.Sync()
	l.IgnoreSignal(unix.SIGUSR1)
	bad := l.Close(FD(998)).Tolerate(unix.EPERM, unix.EBADF)
	f := l.Openat(FD(unix.AT_FDCWD), filepath.Join(dir, "out"), unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC)
	l.Write(f, "hello, ").When(bad)
	l.SetgroupsTo([]uint32{70000}).Tolerate(unix.EPERM)
	child := l.Clone(int(unix.SIGCHLD))
	parent := l.Len()
	l.Wait4()
	l.Send(child)
	l.Write(f, "parent\n")
	l.Close(FD(999))
	l.When(parent, child)
	l.Dup3(f, FD(1), 0)
	l.Execve("/bin/echo")
	return l
}

// writeEmulated is a helper: it writes what a launcher is made of.
func writeEmulated() error {
	dir := os.Args[1]
	text, err := launcherText()
	if err != nil {
		return err
	}
	list, err := emulatedList(dir).Encode()
	return errors.Join(err, os.WriteFile(filepath.Join(dir, "list"), list, 0o644),
		os.WriteFile(filepath.Join(dir, "image"), elfImage(thisArchitecture(), text), 0o755))
}

// readRecords is a helper, too: it reads what the launcher has said.
func readRecords() error {
	records, err := os.ReadFile(filepath.Join(os.Args[1], "status"))
	for l := emulatedList(os.Args[1]); len(records) >= recordSize; records = records[recordSize:] {
		v, err := l.decode([recordSize]byte(records))
		fmt.Println(v > 1, err)
	}
	return err
}

var _ = testenv.Long(TestLauncherOfEveryArchitecture)

// qemu-user executes programs of other processors with this kernel's system calls. What it executes
// can start no others, so the test does by hand what Start does, and there are no namespaces in its
// list.
func TestLauncherOfEveryArchitecture(t *testing.T) {
	for _, a := range architectures {
		own := a.name == runtime.GOARCH
		if !own && (!testenv.Full() || a.name == "386") { // Go crashes in qemu-i386
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			dir := t.TempDir()
			program, start := "/proc/self/exe", func(path string, args ...string) *exec.Cmd {
				return &exec.Cmd{Path: path, Args: append([]string{"echo"}, args...)} // busybox goes by that name
			}
			if !own {
				testenv.Need(t, testenv.GoTool)
				emulator := emulators[a.name]
				if emulator == "" {
					emulator = a.name
				}
				emulator, err := exec.LookPath("qemu-" + emulator)
				testenv.Found(t, "qemu-user", err)
				start = func(path string, args ...string) *exec.Cmd {
					return exec.Command(emulator, append([]string{"-0", "echo", path}, args...)...)
				}
				program = filepath.Join(dir, "test")
				build := exec.Command("go", "test", "-c", "-o", program, ".")
				build.Env = append(os.Environ(), "GOARCH="+a.name, "CGO_ENABLED=0")
				if out, err := build.CombinedOutput(); err != nil {
					testenv.Found(t, "go", fmt.Errorf("go test -c: %w: %s", err, out))
				}
			}
			is := func(name string) string {
				c := start(program, dir)
				c.Env = append(os.Environ(), testenv.ProgramEnv+"="+name)
				var said strings.Builder // go build -cover has it say something
				c.Stderr = &said
				out, err := c.Output()
				if err != nil {
					t.Fatalf("%s: %v: %s%s", name, err, out, &said)
				}
				return string(out)
			}
			is("emulated")
			control, err := os.Open(filepath.Join(dir, "list"))
			if err != nil {
				t.Fatal(err)
			}
			defer control.Close()
			status, err := os.Create(filepath.Join(dir, "status"))
			if err != nil {
				t.Fatal(err)
			}
			defer status.Close()
			launcher := start(filepath.Join(dir, "image"), "of", "one", "list")
			launcher.ExtraFiles = []*os.File{control, status}
			err = launcher.Run()
			if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != 127 {
				t.Errorf("it ended with %v", err)
			}
			const want = "true <nil>\nfalse launcher: step 10 if #6: close(999) = 0: EBADF (bad file descriptor)\n"
			if got := is("records"); got != "false <nil>\n"+want {
				t.Errorf("its records are\n%s", got)
			}
			if out, err := os.ReadFile(filepath.Join(dir, "out")); err != nil || string(out) != "hello, of one list\nparent\n" {
				t.Errorf("it has written %q, %v", out, err)
			}
		})
	}
}
