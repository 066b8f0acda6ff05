package gonso_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gonso/gonso/gonso"
	"github.com/gonso/gonso/internal/testenv"
)

func init() { testenv.Program("passes many files", passesManyFiles) }

// manyFiles are more than the soft limit of the program that passes them.
const (
	manyFiles = 100
	softLimit = 64
)

// passesManyFiles has programs and functions have many files, and prints what they have of them.
func passesManyFiles() {
	os.Unsetenv(testenv.ProgramEnv)
	gonso.Init()
	var files []*os.File
	for i := range manyFiles {
		if i < 20 { // what starts the program needs some to open its libraries
			files = append(files, nil)
			continue
		}
		f, err := os.Open("/dev/null")
		if err != nil {
			panic(err)
		}
		files = append(files, f)
	}
	script := fmt.Sprintf("ulimit -Sn; [ -e /proc/self/fd/%d ] && ! [ -e /proc/self/fd/%d ] && echo all", manyFiles+2, manyFiles+3)
	report := func(out []byte, err error) { fmt.Println(strings.Fields(string(out)), err) }
	c := exec.Command("/bin/sh", "-c", script)
	c.ExtraFiles = files
	report(c.Output())
	user, err := gonso.Unshare(gonso.User | gonso.Mount)
	if err != nil {
		panic(err)
	}
	opened, err := gonso.FromPID(os.Getpid())
	if err != nil {
		panic(err)
	}
	exe, err := os.Open("/bin/sh")
	if err != nil {
		panic(err)
	}
	for _, s := range []*gonso.Set{new(gonso.Set), user, opened} {
		for _, dir := range []string{"", "/proc"} {
			c := s.Command(context.Background(), "sh", "-c", script)
			c.ExtraFiles, c.Dir = files, dir
			report(c.Output())
			c = s.Command(context.Background(), "sh", "-c", script)
			c.ExtraFiles, c.Dir, c.Exe = files, dir, exe
			report(c.Output())
		}
		n, err := countFiles.Do(context.Background(), s, files, gonso.InProcess())
		fmt.Println(n, err)
	}
}

// countFiles counts those of its argument that are there.
var countFiles = gonso.Register("test.countFiles", func(_ context.Context, files []*os.File) (n int, _ error) {
	for _, f := range files {
		if _, err := f.Stat(); err == nil {
			n++
		}
	}
	return n, nil
})

// golang/go#46279: Go programs raise their soft limit of open files, and may have more files than the programs may that
// they start.
func TestSoftLimitCannotKeepFilesFromAProgram(t *testing.T) {
	testenv.Need(t, testenv.Process, testenv.UserNS, testenv.Tool("sh"))
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Max < 4*manyFiles {
		t.Fatalf("the hard limit of open files is %d", limit.Max)
	}
	p := testenv.Command(t, "passes many files")
	c := exec.Command("sh", "-c", fmt.Sprintf(`ulimit -Sn %d; exec "$0"`, softLimit), p.Path)
	c.Env = p.Env
	if exe, err := os.Executable(); err == nil {
		c.Args[3] = exe
	}
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, &stderr)
	}
	each := fmt.Sprintf("[%d all] <nil>\n", softLimit)
	want := each + strings.Repeat(strings.Repeat(each, 4)+strconv.Itoa(manyFiles-20)+" <nil>\n", 3)
	if string(out) != want {
		t.Errorf("%s%s\nwant %s", out, &stderr, want)
	}
}

// gathers opens as many files as it is told to, and returns them.
var gathers = gonso.Register("test.gathers", func(_ context.Context, n int) (files []*os.File, err error) {
	for range n {
		f, err := os.Open("/dev/null")
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
})

// systemd/systemd#42043: who may open no more files loses the descriptors of one message, and gave up the whole connection.
// On either side that costs one call, which says so; others and the worker go on.
func TestLackOfDescriptorsCannotCostOtherCalls(t *testing.T) {
	testenv.Need(t, testenv.Process)
	testenv.Leaks(t)
	s := newSet(t, gonso.User)
	const limit = 60
	setWorker(t, s, gonso.Worker{Rlimits: []gonso.Rlimit{{Resource: unix.RLIMIT_NOFILE, Soft: limit, Hard: limit}}})
	pid := call(t, workerPID, s, struct{}{})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	others := waitIn(t, ctx, s, 3)
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	files := func(n int) (all []*os.File) {
		for range n {
			all = append(all, null)
		}
		return all
	}
	lacks := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, unix.EMFILE) || errors.Is(err, gonso.ErrWorkerDied) || !strings.Contains(err.Error(), "test.") {
			t.Errorf("%s: %v", what, err)
		}
		if again := call(t, workerPID, s, struct{}{}); again != pid {
			t.Errorf("%s: the worker was %d and is %d", what, pid, again)
		}
	}
	closed := func() {
		t.Helper()
		testenv.Eventually(t, "the worker has closed all", func() bool { // after it has answered
			dir, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
			return err == nil && len(dir) <= 20
		})
	}
	for range 3 {
		_, err = countFiles.Do(ctx, s, files(2*limit))
		lacks("the worker receives", err)
		restore := testenv.LimitFiles(t, 8)
		_, err = gathers.Do(ctx, s, 20)
		restore()
		lacks("this process receives", err)
		restore = testenv.LimitFiles(t, 8)
		_, err = countFiles.Do(ctx, s, files(20))
		restore()
		lacks("this process duplicates", err)
		closed()
		// Its own descriptors take what there is: a result cannot be duplicated any more.
		_, err = gathers.Do(ctx, s, limit*2/3)
		lacks("the worker duplicates", err)
		closed()
		if n := call(t, countFiles, s, files(20)); n != 20 {
			t.Errorf("%d files", n)
		}
		closed()
		got := call(t, gathers, s, 20)
		for _, f := range got {
			f.Close()
		}
	}
	closed()
	cancel()
	for range 3 {
		if err := <-others; !errors.Is(err, context.Canceled) || errors.Is(err, gonso.ErrWorkerDied) {
			t.Errorf("another call: %v", err)
		}
	}
}
