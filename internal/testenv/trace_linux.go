package testenv

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func init() { Program("tracer", trace) }

// trace seizes all threads of a process and says so, until it is killed.
func trace() {
	runtime.LockOSThread()
	tids := []string{os.Args[1]}
	if self, _ := os.Readlink("/proc/self"); self == strconv.Itoa(os.Getpid()) { // otherwise /proc is of other processes
		tids, _ = filepath.Glob("/proc/" + os.Args[1] + "/task/*")
	}
	for _, task := range tids {
		tid, _ := strconv.Atoi(filepath.Base(task))
		if err := unix.PtraceSeize(tid); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	fmt.Println("traced")
	for {
		unix.Pause()
	}
}

// Traced makes another process trace a process until the test ends. A traced process that is killed
// cannot be reaped before that.
func Traced(t testing.TB, pid int) {
	t.Helper()
	c := Command(t, "tracer", strconv.Itoa(pid))
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	c.Stderr = &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
		Eventually(t, "what was traced is reaped", func() bool { return unix.Kill(pid, 0) != nil })
	})
	if n, _ := out.Read(make([]byte, 10)); n == 0 {
		c.Wait()
		Found(t, "ptrace", errors.New(said.String()))
	}
}
