package gonso

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/internal/procfs"
	"github.com/gonso/gonso/internal/testenv"
)

// Where /proc is another pid namespace's, whether a command was killed and who keeps it is asked of that
// command, not of the stranger who has its id there.
func init() {
	testenv.Program("waits for a traced command", func() {
		os.Unsetenv(testenv.ProgramEnv)
		Init()
		s, err := Unshare(UTS)
		check(err)
		ctx, cancel := context.WithCancel(context.Background())
		c := s.Command(ctx, "sleep", "600")
		check(c.Start())
		tracer := exec.Command("/proc/self/exe", strconv.Itoa(c.Process.Pid))
		tracer.Env = append(os.Environ(), testenv.ProgramEnv+"=tracer")
		out, err := tracer.StdoutPipe()
		check(err)
		check(tracer.Start())
		if n, _ := out.Read(make([]byte, 10)); n == 0 {
			check(errors.New("nobody traces"))
		}
		cancel()
		err = c.Wait()
		fmt.Println(errors.Is(err, procfs.ErrTraced), err)
		tracer.Process.Kill()
		tracer.Wait()
	})
}

func check(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func TestForeignProcCannotHideWhoKeepsACommand(t *testing.T) {
	testenv.Need(t, testenv.Root, testenv.Process, testenv.UtilLinux("unshare"))
	for name, args := range map[string][]string{
		"a parent's":      {"--fork", "--pid", "--kill-child"},
		"a grandparent's": {"--fork", "--pid", "--kill-child", "unshare", "--fork", "--pid", "--kill-child"},
		"its own":         {"--fork", "--pid", "--kill-child", "--mount-proc"},
	} {
		t.Run(name, func(t *testing.T) {
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			c := exec.Command("unshare", append(args, exe)...)
			c.Env = append(os.Environ(), testenv.ProgramEnv+"=waits for a traced command")
			c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
			kill := time.AfterFunc(20*time.Second, func() { c.Process.Kill() })
			defer kill.Stop()
			out, err := c.CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), "true ") {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
